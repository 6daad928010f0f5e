"""The names and signs of mathematics: commands of LaTeX, functions in plain text, signs of Unicode."""

import re

TRIGONOMETRIC = {"sin", "cos", "tan", "cot", "sec", "csc"}
_HYPERBOLIC = {"sinh", "cosh", "tanh"}
FUNCTIONS = {
    **{name: name for name in (*TRIGONOMETRIC, *_HYPERBOLIC, "log", "ln", "exp", "sqrt", "gcd", "max", "min", "abs")},
    **{f"arc{name}": f"arc{name}" for name in TRIGONOMETRIC},
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "cosec": "csc", "lg": "lg", "lcm": "lcm", "cbrt": "cbrt",
    "floor": "floor", "ceil": "ceil", "ceiling": "ceil", "factorial": "factorial", "binomial": "binomial",
    "comb": "binomial", "nCr": "binomial", "perm": "permutation", "nPr": "permutation",
    "det": "determinant",
}  # fmt: skip
CONSTANTS = {"pi": "pi", "infty": "oo", "infinity": "oo", "oo": "oo", "inf": "oo", "e": "e", "i": "i", "I": "i"}
GREEK = {
    "alpha", "beta", "gamma", "delta", "epsilon", "varepsilon", "zeta", "eta", "theta", "vartheta", "iota", "kappa",
    "lambda", "mu", "nu", "xi", "rho", "sigma", "tau", "upsilon", "phi", "varphi", "chi", "psi", "omega", "Gamma",
    "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega", "ell", "hbar",
}  # fmt: skip
STYLES = {"mathbb", "mathbf", "mathcal", "vec", "hat", "bar", "overline", "boldsymbol", "tilde", "mathfrak", "mathsf"}
MATRICES = {"matrix", "pmatrix", "bmatrix", "vmatrix", "Bmatrix", "smallmatrix", "array"}
RELATIONS = {"=", "<", ">", "<=", ">=", "!=", "in", "equivalent"}
# What a command of LaTeX is to the parser; a sign that is none of these stands for itself.
OPERATORS = {
    "times": "*", "cdot": "*", "ast": "*", "div": "/", "pm": "pm", "mp": "mp", "le": "<=", "leq": "<=",
    "leqslant": "<=",
    "ge": ">=", "geq": ">=", "geqslant": ">=", "lt": "<", "gt": ">", "ne": "!=", "neq": "!=", "equiv": "equivalent",
    "in": "in", "cup": "union", "cap": "intersection", "setminus": "difference", "backslash": "difference",
    "{": "open set", "}": "close set", "lbrace": "open set", "rbrace": "close set", "mid": "such that", "%": "%",
    "lfloor": "floor", "rfloor": "end floor", "lceil": "ceil", "rceil": "end ceil", "lvert": "|", "rvert": "|",
    "vert": "|", "|": "|", "langle": "langle", "rangle": "rangle", "\\": "row", "cr": "row", "circ": "degree",
    "degree": "degree", "to": "to", "pmod": "mod", "bmod": "mod", "lbrack": "[", "rbrack": "]", "prime": "'",
    "land": "separator", "lor": "separator", "colon": ":", "wedge": "separator", "vee": "separator",
    **{sign: sign for sign in ("+", "-", "*", "/", "^", "_", "=", "<", ">", "<=", ">=", "!=", "(", "[", ",")},
}  # fmt: skip
_NAMED = {
    "−": "-", "–": "-", "‒": "-", "×": "*", "·": "*", "⋅": "*", "∙": "*", "∗": "*", "÷": "/", "∕": "/", "⁄": "/",
    "√": "\\sqrt ", "∛": "\\sqrt[3]", "∜": "\\sqrt[4]", "∞": "\\infty ", "≤": "<=", "≥": ">=", "⩽": "<=", "⩾": ">=",
    "≠": "!=", "±": "\\pm ", "∓": "\\mp ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∅": "\\{\\}", "π": "\\pi ",
    "⟨": "\\langle ", "⟩": "\\rangle ", "⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ",
    "≡": "\\equiv ", "∶": ":", "′": "'", "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "≈": "=",
    "α": "\\alpha ", "β": "\\beta ", "γ": "\\gamma ", "δ": "\\delta ", "ε": "\\epsilon ", "θ": "\\theta ",
    "λ": "\\lambda ", "μ": "\\mu ", "ρ": "\\rho ", "σ": "\\sigma ", "τ": "\\tau ", "φ": "\\phi ", "ψ": "\\psi ",
    "ω": "\\omega ", "Δ": "\\Delta ", "Ω": "\\Omega ", "Γ": "\\Gamma ", "∧": "\\land ", "∨": "\\lor ", "𝑖": "i",
    "½": "(1/2)", "¼": "(1/4)", "¾": "(3/4)", "⅓": "(1/3)", "⅔": "(2/3)",
    **{sign: f"_{{{at}}}" for at, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")},
}  # fmt: skip
SIGNS = {ord(sign): written for sign, written in _NAMED.items()}
_WORDS = {**FUNCTIONS, "pi": "pi"}
_KNOWN = re.compile("|".join(sorted((name for name in _WORDS if len(name) > 2 or name in ("pi", "ln")), key=len)[::-1]))
MAX_LETTERS = 4  # of a product of letters such as `abcd`; more are a word


def split_letters(run: str) -> list[tuple[str, str]] | None:
    """A run of letters as kinds and names: functions, constants, single letters; None where it is a word."""
    if run in ("and", "or"):
        return [("separator", run)]
    if run in FUNCTIONS or run in CONSTANTS or run in GREEK:
        kind = "function" if run in FUNCTIONS else "constant" if run in CONSTANTS else "letter"
        return [(kind, {**FUNCTIONS, **CONSTANTS}.get(run, run))]
    parts: list[tuple[str, str]] = []
    place = plain = 0
    while place < len(run):
        found = _KNOWN.match(run, place)
        if found:
            parts.append(("constant" if found[0] == "pi" else "function", _WORDS[found[0]]))
            place = found.end()
            continue
        plain += 1
        letter = run[place]
        parts.append(("constant", letter) if letter in "ei" else ("letter", letter))
        place += 1
        if plain > MAX_LETTERS:
            return None
    return parts
