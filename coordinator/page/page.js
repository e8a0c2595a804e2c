// Keeps the page current without loading it anew, so that the place on it, what is unfolded and the focus stay. Without this script the
// page is the same, and is loaded anew.
"use strict";
(() => {
  const every = 5000;
  const live = document.getElementById("live");
  const pause = document.getElementById("pause");
  let paused = false, timer;

  const say = (text, lost) => {
    if (live.textContent !== text) live.textContent = text;
    live.parentElement.classList.toggle("lost", lost);
  };
  const show = (text) => {
    const next = new DOMParser().parseFromString(text, "text/html");
    const fresh = next.getElementById("main");
    if (!fresh) throw new Error("not the page");
    const now = document.getElementById("main");
    const focused = now.contains(document.activeElement) ? document.activeElement.id : "";
    for (const seen of now.querySelectorAll("details[id]")) {
      const same = fresh.querySelector("#" + seen.id);
      if (same) same.open = seen.open;
    }
    now.replaceWith(document.importNode(fresh, true));
    document.title = next.title;
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };
  const look = async () => {
    if (!document.hidden) {
      try {
        const text = await (await fetch(location.href, { cache: "no-store", signal: AbortSignal.timeout(2 * every) })).text();
        if (paused) return;
        show(text);
        say("Updates itself.", false);
      } catch {
        say("✗ Not connected: what stands here is old. Does kubectl audit-enabler ui still run?", true);
      }
    }
    again();
  };
  const again = () => {
    clearTimeout(timer);
    if (!paused) timer = setTimeout(look, every);
  };
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.textContent = paused ? "Go on" : "Pause";
    say(paused ? "Paused." : "Updates itself.", false);
    if (paused) clearTimeout(timer); else look();
  });
  document.addEventListener("visibilitychange", () => { if (!document.hidden && !paused) look(); });
  pause.hidden = false;
  say("Updates itself.", false);
  again();
})();
