"use strict";
// Asks its own origin for the changing part and puts in place what differs: focus, scroll, selection and what is
// unfolded stay. Without this script the page reloads itself.
(() => {
  const PATIENCE_MS = 8000;
  const every = 1000 * Number(document.body.dataset.refreshSeconds);
  const lost = document.getElementById("lost");
  const lostAge = document.getElementById("lost-age");
  const live = document.getElementById("live");
  let good = Date.now();
  let timer = 0;
  let asking = false;

  const attributes = (from, to) => {
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
  };

  const morph = (from, to) => {
    if (from.isEqualNode(to)) return;
    if (from.nodeName !== to.nodeName || from.id !== to.id) {
      from.replaceWith(document.importNode(to, true));
    } else if (from.nodeType === Node.TEXT_NODE) {
      from.data = to.data;
    } else {
      attributes(from, to);
      const before = [...from.childNodes];
      const after = [...to.childNodes];
      after.forEach((node, at) =>
        at < before.length ? morph(before[at], node) : from.append(document.importNode(node, true)),
      );
      before.slice(after.length).forEach((node) => node.remove());
    }
  };

  const ago = (ms) => (ms < 90e3 ? `${Math.round(ms / 1e3)} s` : `${Math.round(ms / 60e3)} min`);

  const refresh = async () => {
    if (asking) return;
    asking = true;
    clearTimeout(timer);
    try {
      const asked = new URLSearchParams(location.search);
      asked.set("live", "");
      const answer = await fetch(`?${asked}`, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("live");
      if (!answer.ok || !fresh) throw new Error(`no page, but status ${answer.status}`);
      if (fresh.dataset.build !== live.dataset.build) return location.reload();
      morph(live, fresh);
      document.title = document.getElementById("title").textContent;
      good = Date.now();
      lost.hidden = true;
      live.classList.remove("lost");
    } catch {
      lostAge.textContent = ago(Date.now() - good);
      lost.hidden = false;
      live.classList.add("lost");
    }
    asking = false;
    if (!document.hidden) timer = setTimeout(refresh, every);
  };

  const wake = () => (document.hidden ? clearTimeout(timer) : refresh());
  document.addEventListener("visibilitychange", wake);
  timer = setTimeout(refresh, every);
})();
