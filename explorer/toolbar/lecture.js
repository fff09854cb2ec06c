// A lecture's bar: slides by keys, by a presenter's remote or from a menu; time that runs down; the speaker's note.

const MOVED = "[type=range], [type=radio], [type=checkbox], [role=slider], [role=spinbutton]:not(input)"; // by keys that write nothing
const WRITTEN = `:is(input, textarea, select, [contenteditable=true], [role=combobox]):not(${MOVED})`;
const playing = { key: "", since: 0, at: 0, noted: false }; // outlives each drawing of the bar

/** Return what has the focus, also within a component. */
function focused() {
  let focus = document.activeElement;
  while (focus?.shadowRoot?.activeElement) focus = focus.shadowRoot.activeElement;
  return focus;
}

/** Say whether a key belongs to what has the focus: all to text, those that move something to sliders and options. */
function keysAreTheirs(key) {
  const focus = focused();
  if (!focus || focus.closest(".lecture")) return false;
  if (focus.closest(WRITTEN)) return true;
  if (key.length === 1) return false;
  if (focus.closest(MOVED)) return true;
  return key.startsWith("Arrow") && Boolean(focus.closest("[role=radiogroup], [role=listbox], [role=menu], [role=tablist]"));
}

/** Write seconds as minutes and seconds, with a minus once they are over. */
function clock(seconds) {
  const whole = Math.abs(Math.ceil(seconds));
  return `${seconds < 0 && whole ? "−" : ""}${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Return the key of the part at the top of what is in sight, none where the page is at its top. */
function partInSight() {
  const main = document.querySelector('[data-testid="stMain"]');
  if (!main || main.scrollTop < 80) return "";
  const top = main.getBoundingClientRect().top + 60;
  const parts = [...main.querySelectorAll('[class*="st-key-"]')].filter((each) => each.getBoundingClientRect().top >= top);
  parts.sort((one, other) => one.getBoundingClientRect().top - other.getBoundingClientRect().top);
  return parts[0]?.className.match(/st-key-([\w-]+)/)?.[1] ?? "";
}

/** Scroll to a part of the page, or to its top, as soon as it is there, and again while what is above it grows. */
function scrollToPart(part) {
  const until = Date.now() + 6000;
  let hand = false;
  const main = document.querySelector('[data-testid="stMain"]');
  const stop = () => (hand = true);
  for (const act of ["wheel", "touchstart", "pointerdown"]) main?.addEventListener(act, stop, { once: true });
  const scroll = () => {
    const key = playing.key;
    if (part) document.querySelector(`.st-key-${part}`)?.scrollIntoView({ block: "start" });
    else main?.scrollTo(0, 0);
    if (part && !hand && Date.now() < until) setTimeout(() => key === playing.key && scroll(), 300);
  };
  scroll();
}

/** Draw the bar for the slide at hand; return what ends it. */
function showLecture(bar, lecture, words, setTriggerValue) {
  document.documentElement.classList.toggle("playing", Boolean(lecture));
  bar.hidden = !lecture;
  if (!lecture) {
    Object.assign(playing, { key: "", noted: false });
    return () => {};
  }
  if (playing.key !== lecture.key) {
    Object.assign(playing, { key: lecture.key, since: Date.now() });
    scrollToPart(lecture.part);
  }
  playing.at = lecture.at;
  const part = (name) => bar.querySelector(`[data-do="${name}"]`);
  const total = lecture.slides.length;
  const go = (to) => {
    if (to < 1 || to > total || (to === playing.at && to !== lecture.at)) return;
    playing.at = to;
    setTriggerValue("go", to);
  };
  bar.setAttribute("aria-label", words.lecture);
  bar.querySelector(".title").textContent = lecture.title;
  const course = bar.querySelector(".class");
  course.textContent = words.class.replace("{code}", lecture.class);
  course.hidden = !lecture.class;
  const menu = part("go");
  menu.replaceChildren(...lecture.slides.map((title, place) => new Option(`${place + 1}. ${title}`, place + 1)));
  menu.value = lecture.at;
  menu.title = words.overview;
  menu.setAttribute("aria-label", words.overview);
  menu.onchange = () => {
    const to = Number(menu.value);
    menu.blur();
    go(to);
  };
  bar.querySelector(".place").textContent = words.place.replace("{n}", lecture.at).replace("{total}", total);
  for (const [name, by] of [["back", -1], ["on", 1]]) {
    part(name).title = words[name];
    part(name).setAttribute("aria-label", words[name]);
    part(name).disabled = lecture.at + by < 1 || lecture.at + by > total;
    part(name).onclick = () => go(playing.at + by);
  }
  part("reveal").hidden = !lecture.hides;
  part("reveal").textContent = lecture.hidden ? words.reveal : words.hide;
  part("reveal").title = words.reveal_help;
  part("reveal").onclick = () => setTriggerValue("reveal", lecture.hidden ? "shown" : "hidden");
  part("end").textContent = words.end;
  part("end").onclick = () => setTriggerValue("end", true);
  const note = bar.querySelector(".note");
  const showNote = () => {
    note.hidden = !playing.noted || !lecture.note;
    part("note").setAttribute("aria-pressed", String(playing.noted));
  };
  note.textContent = lecture.note;
  part("note").textContent = words.note;
  part("note").title = words.note_help;
  part("note").hidden = !lecture.note;
  part("note").onclick = () => {
    playing.noted = !playing.noted;
    showNote();
  };
  showNote();
  const timer = bar.querySelector(".timer");
  const tick = () => {
    const left = lecture.seconds - (Date.now() - playing.since) / 1000;
    const now = lecture.seconds ? clock(left) : "";
    timer.dataset.time = now; // drawn by the style: text that changes each second would never let the page come to rest
    timer.setAttribute("aria-label", now);
    timer.classList.toggle("over", left < 0);
  };
  tick();
  const ticking = setInterval(tick, 250);
  const onKey = (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") {
      focused()?.blur();
      return;
    }
    if (keysAreTheirs(event.key)) return;
    const by = { ArrowRight: 1, PageDown: 1, ArrowLeft: -1, PageUp: -1 }[event.key];
    if (by) {
      event.preventDefault();
      go(playing.at + by);
    } else if (event.key === "n") {
      part("note").click();
    } else if (event.key === "a" && lecture.hides) {
      setTriggerValue("reveal", lecture.hidden ? "shown" : "hidden");
    }
  };
  document.addEventListener("keydown", onKey, true);
  return () => {
    clearInterval(ticking);
    document.removeEventListener("keydown", onKey, true);
  };
}
