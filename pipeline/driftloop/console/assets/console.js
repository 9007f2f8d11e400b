// Live pages: one stream tells that something is new, and the part of the page that shows it is fetched again.
(() => {
  "use strict";
  let source = null;
  let shown = null;

  const tell = (isOffline, text) => {
    const notice = document.getElementById("offline");
    if (!notice) return;
    if (text) notice.textContent = text;
    notice.hidden = !isOffline;
  };

  const refresh = () => {
    const live = document.getElementById("live");
    if (live && window.htmx) window.htmx.trigger(live, "console-change");
  };

  const follow = () => {
    if (source || document.hidden) return;
    source = new EventSource("/live");
    source.addEventListener("change", (event) => {
      tell(false);
      const live = document.getElementById("live");
      const old = shown === null ? live && live.dataset.version : shown;
      shown = event.data;
      if (old !== event.data) refresh();
    });
    source.onopen = () => tell(false);
    source.onerror = () => {
      const closed = source.readyState === EventSource.CLOSED;
      tell(true, closed
        ? "This console was started anew: open the address that it printed. This page shows what was known last."
        : "The console does not answer: this page shows what was known last.");
      if (closed) { source.close(); source = null; setTimeout(follow, 5000); }
    };
  };

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      if (source) source.close();
      source = null;
    } else {
      follow();
      refresh();
    }
  });

  // a form that somebody fills in is not taken away
  document.addEventListener("htmx:beforeSwap", (event) => {
    const live = document.getElementById("live");
    const busy = document.activeElement;
    const typing = busy && live && live.contains(busy) && busy.matches("input, select, textarea");
    const chosen = live && live.querySelector("input[type=checkbox]:checked");
    if (event.detail.target !== live) return;
    if (typing || chosen) event.detail.shouldSwap = false;
    // what the page is about was removed: that is what it has to show
    else if (event.detail.xhr.status === 404) { event.detail.shouldSwap = true; event.detail.isError = false; }
  });

  document.addEventListener("htmx:sendError", () => tell(true));

  // tables that are wider than the page can be reached by the keyboard
  const focusable = () => document.querySelectorAll(".scroll").forEach((box) => {
    if (box.scrollWidth > box.clientWidth) {
      box.tabIndex = 0;
      box.setAttribute("role", "region");
      box.setAttribute("aria-label", "table, can be scrolled");
    }
  });
  // the editor of a spec: where the caret is tells what is possible there
  const draft = document.querySelector("#draft textarea:not([readonly])");
  const possible = document.getElementById("possible");
  const place = () => {
    const lines = draft.value.slice(0, draft.selectionStart).split("\n");
    const form = draft.form.elements;
    form.namedItem("line").value = lines.length;
    form.namedItem("column").value = lines[lines.length - 1].length;
    if (window.htmx) window.htmx.trigger(possible, "caret");
  };
  if (draft && possible) {
    for (const kind of ["input", "click", "keyup"]) draft.addEventListener(kind, place);
    draft.addEventListener("keydown", (event) => {
      const first = possible.querySelector("button");
      if (!event.ctrlKey || event.key !== " " || !first) return;
      event.preventDefault();
      first.focus();
    });
    possible.addEventListener("click", (event) => {
      const button = event.target.closest("button[data-insert]");
      if (!button) return;
      const end = draft.selectionStart;
      draft.setRangeText(button.dataset.insert, end - button.dataset.typed.length, end, "end");
      draft.focus();
      draft.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }

  document.addEventListener("htmx:afterSettle", focusable);
  window.addEventListener("DOMContentLoaded", () => { focusable(); follow(); });
})();
