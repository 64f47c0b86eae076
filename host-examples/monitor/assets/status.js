// Refreshes the status page: fetches it again and puts its <main> in the place of the old one. Without this script the page is whole.
"use strict";

(() => {
  const seconds = Number(document.body.dataset.refresh) || 15;
  const pauseText = document.body.dataset.refreshText || `${seconds} s`;
  // A host that takes longer does not answer.
  const timeLimit = 10000;

  const bar = document.getElementById("refresh");
  const status = bar.querySelector("[role=status]");
  const button = document.createElement("button");
  button.type = "button";
  bar.append(button);

  let paused = false;
  let failing = false;
  let timer = 0;

  const show = (text, isStale) => {
    // Said once: a screen reader reads each change out.
    if (status.textContent !== text) {
      status.textContent = text;
    }
    bar.classList.toggle("stale", isStale);
    button.textContent = paused ? "Go on refreshing" : "Pause";
  };

  const showState = () => {
    if (paused) {
      show("Not refreshed at the moment.", failing);
    } else if (!failing) {
      show(`Refreshed every ${pauseText}.`, false);
    }
  };

  // Someone who marks text, to copy a line, must not lose it.
  const isMarking = (main) => {
    const selection = document.getSelection();
    return selection && !selection.isCollapsed && selection.containsNode(main, true);
  };

  // The section at the top of the window, and where it is: it is to stay there.
  const reading = (main) => {
    for (const section of main.querySelectorAll("section[id]")) {
      const box = section.getBoundingClientRect();
      if (box.bottom > 0) {
        return { id: section.id, top: box.top };
      }
    }
    return null;
  };

  const replace = (fresh) => {
    const old = document.querySelector("main");
    if (isMarking(old)) {
      return;
    }
    const place = window.scrollY > 0 ? reading(old) : null;
    const scrolled = new Map();
    for (const table of old.querySelectorAll(".scroll[id]")) {
      scrolled.set(table.id, table.scrollLeft);
    }
    const focused = old.contains(document.activeElement) ? document.activeElement.id : "";
    const main = document.adoptNode(fresh);
    old.replaceWith(main);
    for (const [id, left] of scrolled) {
      const table = document.getElementById(id);
      if (table) {
        table.scrollLeft = left;
      }
    }
    if (focused) {
      document.getElementById(focused)?.focus({ preventScroll: true });
    }
    const section = place && document.getElementById(place.id);
    if (section) {
      window.scrollBy(0, section.getBoundingClientRect().top - place.top);
    }
  };

  const refresh = async () => {
    try {
      const answer = await fetch(location.pathname + location.search, {
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
        signal: AbortSignal.timeout(timeLimit),
      });
      if (!answer.ok) {
        throw new Error(`status ${answer.status}`);
      }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
      if (!fresh) {
        throw new Error("not this page");
      }
      replace(fresh);
      failing = false;
    } catch {
      if (!failing) {
        const time = new Date().toISOString().slice(11, 19);
        failing = true;
        show(`This host has not answered since ${time} UTC. The page shows what it said before.`, true);
      }
    }
  };

  const next = () => {
    timer = window.setTimeout(async () => {
      // In the background nobody reads.
      if (!document.hidden) {
        await refresh();
      }
      if (!paused) {
        showState();
        next();
      }
    }, seconds * 1000);
  };

  button.addEventListener("click", () => {
    paused = !paused;
    window.clearTimeout(timer);
    if (!paused) {
      next();
    }
    showState();
  });

  showState();
  next();
})();
