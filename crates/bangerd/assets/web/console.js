"use strict";

// A log that is looked at stays at its end, unless somebody has scrolled up; and it stays small.

const MOST = 2000;

function toEnd() {
    const log = document.getElementById("log");
    if (log) log.scrollTop = log.scrollHeight;
}

let atEnd = true;

document.addEventListener("htmx:sseBeforeMessage", (event) => {
    // What is there already is left alone: replaced, a button would lose the click that is under way.
    // What is added to a log may well be the same again.
    const piece = document.createElement("template");
    piece.innerHTML = event.detail.data;
    if (!event.target.hasAttribute("hx-swap") && piece.innerHTML === event.target.innerHTML) {
        event.preventDefault();
        return;
    }
    const log = document.getElementById("log");
    atEnd = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 40;
});

document.addEventListener("htmx:sseMessage", (event) => {
    const log = document.getElementById("log");
    if (!log || !log.contains(event.target)) return;
    const more = log.querySelector("[sse-swap=more]");
    while (more && more.childNodes.length > MOST) more.firstChild.remove();
    if (atEnd) toEnd();
});

document.addEventListener("DOMContentLoaded", toEnd);

// Figures that stand still for want of a connection must not look like fresh ones.
function setStale(stale) {
    const notice = document.getElementById("stale");
    if (notice) notice.hidden = !stale;
}

document.addEventListener("htmx:sseError", () => setStale(true));
document.addEventListener("htmx:sseOpen", () => setStale(false));
