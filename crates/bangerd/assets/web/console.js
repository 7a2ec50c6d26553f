// A log that is looked at stays at its end, unless somebody has scrolled up; and it stays small.
"use strict";

const MOST = 2000;

function toEnd() {
    const log = document.getElementById("log");
    if (log) log.scrollTop = log.scrollHeight;
}

let atEnd = true;

document.addEventListener("htmx:sseBeforeMessage", () => {
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
