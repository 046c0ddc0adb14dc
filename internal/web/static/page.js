"use strict";
// Keeps a page up to date: counts its times, and takes its parts anew from the server when the
// stream of events says that something happened. Everything works without it, but by reloading.
(() => {
  const main = document.getElementById("main");
  const offline = document.getElementById("offline");
  const every = 5000;   // ms: what rules see between two events
  const calm = 1000;    // ms between two refreshes, however much happens
  let skew = 0;         // of the browser's clock
  let last = Date.now();
  let events = null, waiting = null, busy = false, again = false;
  let pressed = false;  // a part that changed under a finger would swallow the press
  const known = new Map(); // of each part what the server sent, by its id

  const two = (n) => String(n).padStart(2, "0");

  function clock(ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    const rest = two(s % 60);
    return s < 3600 ? Math.floor(s / 60) + ":" + rest : Math.floor(s / 3600) + ":" + two(Math.floor(s / 60) % 60) + ":" + rest;
  }

  function ago(ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 60) return s + " s ago";
    if (s < 3600) return Math.floor(s / 60) + " min ago";
    if (s < 48 * 3600) return Math.floor(s / 3600) + " h ago";
    return Math.floor(s / 86400) + " days ago";
  }

  function put(node, text) {
    if (node.textContent !== text) node.textContent = text;
  }

  function tick() {
    const now = Date.now() + skew;
    for (const node of document.querySelectorAll("time")) {
      const at = Date.parse(node.dateTime);
      if ("until" in node.dataset) {
        put(node, clock(at - now));
        if (at <= now && at > now - 3000) soon();
      } else if ("since" in node.dataset) {
        put(node, node.dataset.since + clock(now - at));
      } else if ("ago" in node.dataset) {
        put(node, ago(now - at));
      }
    }
  }

  // setSkew reads the server's clock off a page that has just come.
  function setSkew(page) {
    const now = Date.parse(page.dataset.now);
    if (!isNaN(now)) skew = Math.abs(now - Date.now()) > 2000 ? now - Date.now() : 0;
  }

  // carry keeps what a person is doing in a part that is replaced: text, choices, what is open.
  function carry(from, to) {
    for (const old of from.querySelectorAll("input:not([type=hidden]), select, details, picture")) {
      const fresh = old.id && to.querySelector("#" + CSS.escape(old.id));
      if (!fresh) continue;
      if (old instanceof HTMLDetailsElement) {
        fresh.open = old.open;
      } else if (old instanceof HTMLPictureElement) {
        for (const [was, is] of [[old.children[0], fresh.children[0]], [old.children[1], fresh.children[1]]]) {
          for (const {name, value} of is.attributes) {
            if (was.getAttribute(name) !== value) was.setAttribute(name, value);
          }
        }
        fresh.replaceWith(old); // shows the old picture until the new one is there
      } else {
        fresh.value = old.value;
      }
    }
  }

  function replace(next) {
    const focus = document.activeElement;
    const select = focus && focus.selectionStart;
    const open = [...main.querySelectorAll("a:focus, button:focus, summary:focus")].length > 0 && focus;
    for (const part of main.querySelectorAll("[data-part]")) {
      const fresh = next.getElementById(part.id);
      if (!fresh || known.get(part.id) === fresh.outerHTML) continue;
      known.set(part.id, fresh.outerHTML);
      const copy = document.importNode(fresh, true);
      const tag = open && part.contains(open) ? [...part.querySelectorAll(open.tagName)].indexOf(open) : -1;
      carry(part, copy);
      part.replaceWith(copy);
      if (tag >= 0) {
        const same = copy.querySelectorAll(open.tagName)[tag];
        if (same && same.textContent === open.textContent) same.focus({preventScroll: true});
      }
    }
    if (focus && focus.id && !document.contains(focus)) {
      const same = document.getElementById(focus.id);
      if (same) {
        same.focus({preventScroll: true});
        if (typeof select === "number" && same.setSelectionRange) same.setSelectionRange(select, select);
      }
    }
    const page = next.getElementById("main");
    document.title = next.title;
    main.dataset.events = page.dataset.events;
    put(document.getElementById("announce"), page.dataset.says);
    setSkew(page);
    tick();
  }

  async function refresh() {
    if (busy || pressed) {
      again = true;
      return;
    }
    busy = true;
    try {
      const answer = await fetch(main.dataset.url, {cache: "no-store", headers: {Accept: "text/html"}});
      if (answer.redirected) {
        location.assign(answer.url); // the session is over
        return;
      }
      if (!answer.ok) throw new Error("status " + answer.status);
      const text = await answer.text();
      last = Date.now();
      if (pressed) {
        again = true;
      } else {
        replace(new DOMParser().parseFromString(text, "text/html"));
      }
      offline.hidden = true;
      follow();
    } catch {
      put(document.getElementById("offline-since"), ago(Date.now() - last));
      offline.hidden = false;
    } finally {
      busy = false;
      if (again && !pressed) soonAgain();
    }
  }

  function soonAgain() {
    again = false;
    soon();
  }

  function soon() {
    if (waiting === null) {
      waiting = setTimeout(() => { waiting = null; refresh(); }, Math.max(50, last + calm - Date.now()));
    }
  }

  // follow listens while there is something to hear and somebody to see it.
  function follow() {
    const wanted = main.dataset.events && !document.hidden;
    if (!wanted && events) {
      events.close();
      events = null;
    }
    if (wanted && (!events || events.readyState === EventSource.CLOSED)) {
      events = new EventSource(main.dataset.events);
      events.addEventListener("fact", soon);
      events.addEventListener("change", soon);
    }
  }

  // A link from elsewhere does not bring the session along; asking from here does.
  async function comeIn(to) {
    const answer = await fetch(to, {cache: "no-store"}).catch(() => null);
    if (answer && answer.ok && !answer.redirected) location.replace(to);
  }

  for (const part of main.querySelectorAll("[data-part]")) known.set(part.id, part.outerHTML);
  document.addEventListener("pointerdown", () => { pressed = true; });
  for (const released of ["pointerup", "pointercancel"]) {
    document.addEventListener(released, () => setTimeout(() => {
      pressed = false;
      if (again) soonAgain();
    }, 300));
  }
  setSkew(main);
  tick();
  setInterval(tick, 500);
  const login = document.querySelector("[data-login]");
  if (login) comeIn(login.dataset.login);
  if (main.dataset.url) {
    follow();
    setInterval(() => {
      if (!document.hidden && (main.dataset.events || !main.querySelector("[data-closed]"))) refresh();
    }, every);
    document.addEventListener("visibilitychange", () => {
      follow();
      if (!document.hidden) refresh();
    });
  }
})();
