// The shell of a VM, in an xterm.js, over a WebSocket: bytes are what is typed and shown, text is the
// terminal's size.
"use strict";

{
    const place = document.getElementById("terminal");
    const over = document.getElementById("over");

    // The page allows no inline styles. xterm.js's own elements carry the page's nonce, and what it
    // would write as an attribute is set as a property.
    const create = document.createElement.bind(document);
    document.createElement = (name, options) => {
        const element = create(name, options);
        if (name === "style") element.nonce = place.dataset.nonce;
        return element;
    };
    const setAttribute = Element.prototype.setAttribute;
    Element.prototype.setAttribute = function (name, value) {
        if (name === "style") this.style.cssText = value;
        else setAttribute.call(this, name, value);
    };

    const terminal = new Terminal({ cursorBlink: true, screenReaderMode: true });
    const fit = new FitAddon.FitAddon();
    terminal.loadAddon(fit);
    terminal.open(place);
    fit.fit();

    const url = new URL(place.dataset.socket, location.href);
    url.protocol = "ws:";
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    const tellSize = () => {
        if (socket.readyState !== WebSocket.OPEN) return;
        socket.send(JSON.stringify({ rows: terminal.rows, columns: terminal.cols }));
    };
    const typed = new TextEncoder();
    socket.onopen = () => {
        tellSize();
        terminal.focus();
    };
    socket.onmessage = (event) => terminal.write(new Uint8Array(event.data));
    socket.onclose = () => {
        over.textContent = "The shell has ended. Load the page again for another one.";
    };
    const send = (bytes) => {
        if (socket.readyState === WebSocket.OPEN) socket.send(bytes);
    };
    terminal.onData((text) => send(typed.encode(text)));
    terminal.onBinary((text) => send(Uint8Array.from(text, (c) => c.charCodeAt(0))));
    terminal.onResize(tellSize);
    new ResizeObserver(() => fit.fit()).observe(place);

    // The way out for who has only a keyboard: all other keys are the shell's.
    terminal.attachCustomKeyEventHandler((event) => {
        if (event.type !== "keydown" || event.key !== "Escape" || !event.shiftKey) return true;
        document.getElementById("leave").focus();
        return false;
    });
}
