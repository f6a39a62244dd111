// Browsers let no page that was opened as a file start a worker, and search runs in one: here a script
// in a hidden frame takes its place.
"use strict";
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(url) {
      this.frame = document.createElement("iframe");
      this.frame.hidden = true;
      document.body.append(this.frame);
      this.scope = this.frame.contentWindow;
      this.scope.postMessage = (data) => {
        setTimeout(() => this.onmessage?.(new MessageEvent("message", { data })));
      };
      const script = this.scope.document.createElement("script");
      script.src = new URL(url, location.href).href;
      this.ready = new Promise((done) => { script.onload = done; });
      script.onerror = (event) => this.onerror?.(event);
      this.scope.document.body.append(script);
    }
    postMessage(data) {
      this.ready.then(() => this.scope.dispatchEvent(new MessageEvent("message", { data })));
    }
    terminate() { this.frame.remove(); }
  };
}
