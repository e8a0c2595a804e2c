package page

// beyond are the elements that are wider than the screen, or make the page scroll sideways.
const beyond = `
(() => {
  const width = document.documentElement.clientWidth, found = [];
  if (document.documentElement.scrollWidth > width) found.push("the page: " + document.documentElement.scrollWidth + " > " + width);
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest("thead") && getComputedStyle(e.closest("thead")).position === "absolute") continue;
    const box = e.getBoundingClientRect();
    if (box.width > 0 && (box.right > width + 1 || box.left < -1)) found.push(e.tagName + "." + e.className + ": " + Math.round(box.left) + " to " + Math.round(box.right));
  }
  return found.slice(0, 8);
})()`

// audit is what every page has to hold to, and where axe-core is there its own rules.
const audit = `
(async () => {
  const faults = [];
  const want = (yes, what) => { if (!yes) faults.push(what); };
  want(document.documentElement.lang === "en", "no language");
  want(document.querySelectorAll("main").length === 1 && document.querySelectorAll("body > header").length === 1, "landmarks: want one main and one header");
  const levels = [...document.querySelectorAll("h1,h2,h3")].map(h => +h.tagName[1]);
  want(levels[0] === 1 && levels.every((l, i) => i === 0 || l > 1 && l <= levels[i - 1] + 1), "headings: " + levels);
  for (const s of document.querySelectorAll("main > section")) {
    const by = s.getAttribute("aria-labelledby");
    want(s.getAttribute("aria-label") || by && document.getElementById(by), "a section without a name");
  }
  for (const c of document.querySelectorAll("td, th")) want(c.tagName === "TH" ? c.scope : c.dataset.label, "a cell without a header: " + c.textContent);
  for (const m of document.querySelectorAll(".mark")) want(m.querySelector("[aria-hidden]").textContent.trim() && m.textContent.trim().length > 2, "a mark that is only a colour: " + m.outerHTML);
  for (const s of document.querySelectorAll("svg")) want(s.getAttribute("role") === "img" && s.getAttribute("aria-label"), "a picture without words");
  const rgb = (text) => text.match(/[\d.]+/g).map(Number);
  const light = (c) => [.2126, .7152, .0722].reduce((sum, w, i) => { const v = c[i] / 255; return sum + w * (v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); }, 0);
  for (const e of document.querySelectorAll("body *")) {
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) || e.closest("svg") || !e.getClientRects().length) continue;
    let under = e, ground;
    do { ground = rgb(getComputedStyle(under).backgroundColor); under = under.parentElement; } while (under && ground[3] === 0);
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(ground)].sort((x, y) => y - x);
    want((a + .05) / (b + .05) >= 4.5, "contrast " + ((a + .05) / (b + .05)).toFixed(2) + ": " + e.className + " " + e.textContent.trim().slice(0, 40));
  }
  if (window.axe) {
    const result = await axe.run(document, { resultTypes: ["violations"] });
    for (const v of result.violations) faults.push("axe: " + v.id + ": " + v.help + ": " + v.nodes.slice(0, 3).map(n => n.html).join(" | "));
  }
  return faults;
})()`
