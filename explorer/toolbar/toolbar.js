// Presenting is a class of the whole page; the link is copied also where a page is not served securely.

/** Copy text. Browsers offer a clipboard to secure pages alone; others can copy what is selected. */
async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const field = Object.assign(document.createElement("textarea"), { value: text });
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}

/** Let one step back undo one act: Streamlit pushes several addresses for one link, and again for each default in it. */
function pushOnceAnAct() {
  const push = history.pushState.bind(history);
  let acted = false;
  for (const act of ["pointerdown", "keydown"]) addEventListener(act, () => (acted = true), true);
  addEventListener("popstate", () => (acted = false), true);
  history.pushState = (...entry) => {
    if (acted) push(...entry);
    else history.replaceState(...entry);
    acted = false;
  };
}

/** Show another step of a lesson, unless the arrow keys belong to the control that has the focus. */
function step(by) {
  const focus = document.activeElement;
  const theirs = focus?.shadowRoot?.activeElement || focus?.closest("input, textarea, [role=slider], [role=radiogroup]");
  if (theirs && !focus.closest('[class*="_beat"]')) return;
  const steps = [...document.querySelectorAll('[class*="_beat"] button')];
  steps[steps.findIndex((each) => each.getAttribute("aria-checked") === "true") + by]?.click();
}

/** Offer the languages, each under its code; its name is what a screen reader says. */
function chooseLanguage(select, { language, languages, words }, setTriggerValue) {
  const option = ([code, name]) => Object.assign(new Option(code.toUpperCase(), code), { title: name, ariaLabel: name });
  select.replaceChildren(...Object.entries(languages).map(option));
  select.value = language;
  select.title = words.language;
  select.setAttribute("aria-label", words.language);
  select.onchange = () => setTriggerValue("language", select.value);
}

/** Show each step of a lesson from its top, where its figure is: what was pressed may stand further down. */
function stepFromTheTop() {
  addEventListener("click", ({ target }) => {
    if (target.closest?.('[class*="_continue"], [class*="_beat"]'))
      document.querySelector('[data-testid="stMain"]')?.scrollTo(0, 0);
  });
}

pushOnceAnAct(); // both when the page loads this file, which it does once
stepFromTheTop();

let release = () => {}; // of what the last drawing listens to: it is drawn again and again before it is taken down

export default function ({ parentElement, data, setTriggerValue }) {
  release();
  const button = (name) => parentElement.querySelector(`[data-do="${name}"]`);
  const copied = parentElement.querySelector(".copied");
  const present = () => setTriggerValue("present", true);
  const onKey = (event) => {
    if (!data.presenting || data.lecture || event.defaultPrevented) return;
    if (event.key === "Escape") present();
    if (event.key === "ArrowRight") step(1);
    if (event.key === "ArrowLeft") step(-1);
  };
  const { words } = data;
  document.documentElement.classList.toggle("presenting", data.presenting);
  document.documentElement.lang = data.language;
  const bar = parentElement.querySelector(".toolbar");
  bar.setAttribute("aria-label", words.name);
  button("present").textContent = data.presenting ? "✕" : words.present;
  button("present").setAttribute("aria-label", data.presenting ? words.present_end : words.present);
  button("present").title = words.present_help;
  button("copy").title = words.copy_help;
  button("copy").textContent = words.copy;
  chooseLanguage(bar.querySelector("select"), data, setTriggerValue);
  button("add").textContent = words.add;
  button("add").title = words.add_help;
  button("add").onclick = () => setTriggerValue("add", { address: location.pathname + location.search, part: partInSight() });
  const endLecture = showLecture(parentElement.querySelector(".lecture"), data.lecture, words, setTriggerValue);
  button("present").onclick = present;
  button("copy").onclick = async () => {
    await copy(location.href);
    copied.textContent = button("copy").textContent = words.copied;
    button("copy").classList.add("done");
    setTimeout(() => {
      button("copy").textContent = words.copy;
      button("copy").classList.remove("done");
    }, 2000);
  };
  const leaveRoom = () => document.documentElement.style.setProperty("--toolbar-width", `${bar.offsetWidth}px`);
  const resized = new ResizeObserver(leaveRoom); // the navigation folds what would lie under the toolbar
  resized.observe(bar);
  document.addEventListener("keydown", onKey);
  release = () => {
    resized.disconnect();
    document.removeEventListener("keydown", onKey);
    endLecture();
  };
  return release;
}
