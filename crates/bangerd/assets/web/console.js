"use strict";

// A log that is looked at stays at its end, unless somebody has scrolled up; and it stays small.

// In characters.
const MOST = 1 << 20;

// That of a VM's console, to which more is added, or of an operation, which is replaced.
function findLog() {
    return document.getElementById("log") || document.getElementById("said");
}

function toEnd() {
    const log = findLog();
    if (log) log.scrollTop = log.scrollHeight;
}

let atEnd = true;
let place = 0;

document.addEventListener("htmx:sseBeforeMessage", (event) => {
    // What is there already is left alone: replaced, a button would lose the click that is under way.
    // What is added to a log may well be the same again.
    const piece = document.createElement("template");
    piece.innerHTML = event.detail.data;
    if (!event.target.hasAttribute("hx-swap") && piece.innerHTML === event.target.innerHTML) {
        event.preventDefault();
        return;
    }
    const log = findLog();
    atEnd = !log || log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    if (log) place = log.scrollTop;
});

document.addEventListener("htmx:sseMessage", (event) => {
    if (event.target.id === "stale") setStale(true);
    const log = findLog();
    if (!log) return;
    if (log.contains(event.target)) keepSmall(log);
    else if (!atEnd) log.scrollTop = place;
    if (atEnd) toEnd();
});

function keepSmall(log) {
    const more = log.querySelector("[sse-swap=more]");
    let length = more ? more.textContent.length : 0;
    while (length > MOST && more.firstChild !== more.lastChild) {
        length -= more.firstChild.textContent.length;
        more.firstChild.remove();
    }
}

document.addEventListener("DOMContentLoaded", toEnd);

// Figures that stand still for want of a connection must not look like fresh ones.
function setStale(stale) {
    const notice = document.getElementById("stale");
    if (notice) notice.hidden = !stale;
}

document.addEventListener("htmx:sseError", () => setStale(true));
document.addEventListener("htmx:sseOpen", () => setStale(false));

// A browser has six connections to a host at most, and a stream holds one: a page that nobody looks at
// lets go of its own. What it shows is sent anew when it is looked at again.
class Stream {
    #source = null;
    #over = false;
    #listeners = [];
    #look = () => (document.hidden ? this.#pause() : this.#open());

    constructor(url) {
        this.url = url;
        document.addEventListener("visibilitychange", this.#look);
        this.#look();
    }

    get readyState() {
        if (this.#over) return EventSource.CLOSED;
        return this.#source ? this.#source.readyState : EventSource.CONNECTING;
    }

    addEventListener(type, listener) {
        this.#listeners.push([type, listener]);
        this.#source?.addEventListener(type, listener);
    }

    removeEventListener(type, listener) {
        this.#listeners = this.#listeners.filter(([t, l]) => t !== type || l !== listener);
        this.#source?.removeEventListener(type, listener);
    }

    close() {
        this.#over = true;
        document.removeEventListener("visibilitychange", this.#look);
        this.#pause();
    }

    #pause() {
        this.#source?.close();
        this.#source = null;
    }

    #open() {
        if (this.#source) return;
        const source = new EventSource(this.url);
        this.#source = source;
        for (const [type, listener] of this.#listeners) source.addEventListener(type, listener);
        source.onopen = (event) => this.onopen?.(event);
        source.onerror = (event) => {
            // htmx makes another one of it.
            if (source.readyState === EventSource.CLOSED) this.close();
            this.onerror?.(event);
        };
    }
}

htmx.createEventSource = (url) => new Stream(url);
