"use strict";
// Reading needs none of this: it adds the keyboard, folds the filters on small screens and renews a page that is live.

const rows = () => [...document.querySelectorAll("[data-row]")].filter((row) => row.offsetParent !== null);
let selected = -1;

function select(at) {
  const all = rows();
  if (!all.length) return;
  all.forEach((row) => row.classList.remove("selected"));
  selected = Math.max(0, Math.min(all.length - 1, at));
  const row = all[selected];
  row.classList.add("selected");
  const link = row.querySelector("a");
  if (link) link.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function typing(target) {
  return target.matches("input:not([type=checkbox]):not([type=radio]), select, textarea");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Escape") {
    if (typing(event.target)) {
      event.target.blur();
    } else {
      const up = document.querySelector("main [data-up]") || document.querySelector("[data-up]") || document.querySelector(".brand");
      if (up && up.href !== location.href) location.href = up.href;
    }
    return;
  }
  if (typing(event.target)) return;
  if (event.key === "/") {
    const field = document.querySelector("[data-search]") || document.querySelector("#lookup");
    if (field) {
      event.preventDefault();
      field.focus();
      field.select();
    }
  } else if (event.key >= "1" && event.key <= "5") {
    const button = document.querySelector(`[data-press="${event.key}"]`);
    if (button) button.click();
  } else if (event.key === "x") {
    const box = document.querySelector("[data-row].selected input[type=checkbox]");
    if (box) box.checked = !box.checked;
  } else if (event.key === "m") {
    const link = document.querySelector('a[href*="/mark?"]');
    if (link) location.href = link.href;
  } else if (event.key === "t") {
    const link = document.querySelector('header a[href$="/traces"]');
    if (link) location.href = link.href;
  } else if (event.key === "d") {
    const all = [...document.querySelectorAll("details.diffed")];
    const open = all.some((one) => !one.open);
    all.forEach((one) => (one.open = open));
  } else if (event.key === "n" || event.key === "p") {
    const link = document.querySelector(`.pager a[rel="${event.key === "n" ? "next" : "prev"}"]`);
    if (link) location.href = link.href;
  } else if (event.key === "j" || event.key === "k") {
    const link = document.querySelector(`a[data-key="${event.key}"]`);
    if (link) location.href = link.href;
    else if (!document.querySelector("[data-neighbours]")) select(selected + (event.key === "j" ? 1 : -1));
  }
});

if (matchMedia("(max-width: 760px)").matches) {
  document.querySelectorAll("details.facets").forEach((one) => one.removeAttribute("open"));
}

// A live page asks for itself again when the server says that the run's files changed.
async function renew() {
  if (typing(document.activeElement)) return;
  const answer = await fetch(location.href, { headers: { accept: "text/html" } });
  if (!answer.ok) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = document.querySelector("main");
  const next = page.querySelector("main");
  if (!main || !next) return;
  const open = [...main.querySelectorAll("details")].map((one) => one.open);
  [...next.querySelectorAll("details")].forEach((one, at) => {
    if (at in open) one.open = open[at];
  });
  main.replaceWith(next);
  document.title = page.title;
  selected = -1;
}

if (document.body.dataset.live && "EventSource" in window) {
  const source = new EventSource(document.body.dataset.live);
  let waiting = false;
  source.addEventListener("changed", () => {
    if (waiting) return;
    waiting = true;
    setTimeout(() => {
      waiting = false;
      renew().catch(() => {});
    }, 300);
  });
}
