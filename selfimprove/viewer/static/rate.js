"use strict";
// Ranking by keyboard; without it the choices of ranks and the buttons do the same.

const form = document.querySelector("[data-rate]");
const order = []; // places of responses that are equally good, the best first
let tie = false;

function show() {
  const fields = [...form.querySelectorAll("select")];
  fields.forEach((field) => (field.value = ""));
  let rank = 1;
  for (const equal of order) {
    equal.forEach((at) => (fields[at].value = String(rank)));
    rank += equal.length;
  }
  const said = order.map((equal) => equal.map((at) => "ABCDEFGHI"[at]).join(" = ")).join(", then ");
  form.querySelector("[data-said]").textContent = (said || "nothing ranked") + (tie ? " =" : "");
  form.querySelectorAll("article").forEach((one, at) => one.classList.toggle("first", order.length > 0 && order[0].includes(at)));
}

function press(key) {
  const at = "abcdefghi".indexOf(key);
  if (at >= 0 && at < form.querySelectorAll("article").length && !order.some((equal) => equal.includes(at))) {
    if (tie && order.length) order[order.length - 1].push(at);
    else order.push([at]);
    tie = false;
  } else if (key === "=") {
    tie = order.length > 0;
  } else if (key === "Backspace") {
    if (tie) tie = false;
    else if (order.length && order[order.length - 1].length > 1) order[order.length - 1].pop();
    else order.pop();
  } else {
    return false;
  }
  show();
  return true;
}

if (form) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
    if (event.target.matches("input, textarea, select, button, a, summary")) return;
    if (event.key === "Enter") form.querySelector("button[value=keep]").click();
    else if (event.key === "s") form.querySelector("button[value=skip]").click();
    else if (event.key === "r") form.querySelector("textarea").focus();
    else if (!press(event.key)) return;
    event.preventDefault();
  });
}
