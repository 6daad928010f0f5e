"""Templates as promptsource keeps them (Bach et al., 2022): a YAML file a data set, with tags of its own."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from selfimprove.recipe.yaml import Document, Loader, read_document, validate


class TemplateLoader(Loader):  # type: ignore[misc, valid-type]
    """Reads what promptsource calls `!Template` and `!TemplateMetadata` as the mappings that they are."""


def _read_mapping(loader: Any, _: str, node: Any) -> object:
    return loader.construct_mapping(node, deep=True)


TemplateLoader.add_multi_constructor("!Template", _read_mapping)


class Metadata(BaseModel):
    """What is said of a template."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)
    original_task: bool | None = True
    choices_in_prompt: bool | None = False


class Template(BaseModel):
    """A template: `jinja` writes a prompt and its completion with `|||` between them, `answer_choices` the options."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)
    name: str
    jinja: str
    answer_choices: str | None = None
    metadata: Metadata = Metadata()


class TemplateFile(BaseModel):
    """A `templates.yaml` of promptsource."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)
    dataset: str = ""
    subset: str | None = None
    templates: dict[str, Template]


def load_templates(path: Path) -> tuple[dict[str, Template], dict[str, str]]:
    """The templates of a file by name, and where each of them stands; raises RecipeError with the file and the line."""
    document: Document = read_document(path, loader=TemplateLoader)
    found = validate(TemplateFile, document).templates
    named = {one.name: one for one in found.values()}
    places = {one.name: document.where(("templates", key)) for key, one in found.items()}
    return named, places
