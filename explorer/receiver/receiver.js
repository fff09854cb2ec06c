// Files are sent one after the other, as they are read from the disk: neither side ever holds one in memory.

const MB = 1e6;
const going = new WeakMap(); // the request under way, by the place where it was begun

/** Put live values into a sentence. */
const fill = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);

/** Send one file; `onSent` hears how many bytes have gone. */
function send(place, file, address, onSent) {
  return new Promise((done, fail) => {
    const request = new XMLHttpRequest();
    going.set(place, request);
    request.open("POST", address);
    request.upload.onprogress = ({ loaded }) => onSent(loaded);
    request.onload = () => (request.status === 204 ? done() : fail(String(request.status)));
    request.onerror = () => fail("lost");
    request.onabort = () => fail("cancelled");
    request.send(file);
  });
}

/** Send a batch, show how far it is, and tell the page when all of it is there. */
async function sendAll(place, files, { token, room, words }, arrived) {
  const find = (name) => place.querySelector(name);
  const error = find(".error");
  const total = files.reduce((sum, { size }) => sum + size, 0);
  const say = (key) => {
    error.textContent = fill(words[key] ?? words.lost, { size: Math.ceil(total / MB), room: Math.floor(room / MB) });
    error.hidden = false;
  };
  error.hidden = true;
  if (total > room) return say("413");
  const batch = Date.now();
  let before = 0;
  const show = (sent) => {
    find("progress").value = (before + sent) / (total || 1);
    find(".far").textContent = fill(words.far, { sent: Math.floor((before + sent) / MB), size: Math.ceil(total / MB) });
  };
  find("input").disabled = true;
  find(".going").hidden = false;
  try {
    for (const file of files) {
      const query = new URLSearchParams({ batch, name: file.name });
      show(0);
      await send(place, file, new URL(`upload/${token}?${query}`, location.href), show);
      before += file.size;
    }
    arrived(String(batch));
  } catch (reason) {
    say(reason);
  } finally {
    going.delete(place);
    find("input").value = "";
    find("input").disabled = false;
    find(".going").hidden = true;
  }
}

export default function ({ parentElement, data, setTriggerValue }) {
  const place = parentElement.querySelector(".receiver");
  const find = (name) => place.querySelector(name);
  const take = (files) => {
    if (files.length && !going.has(place)) sendAll(place, [...files], data, (batch) => setTriggerValue("arrived", batch));
  };
  find(".say").textContent = data.words.drop;
  find(".going button").textContent = data.words.cancel;
  find(".going button").onclick = () => going.get(place)?.abort();
  find("input").onchange = (event) => take(event.target.files);
  const drop = find(".drop");
  drop.ondragover = (event) => {
    event.preventDefault();
    drop.classList.add("over");
  };
  drop.ondragleave = () => drop.classList.remove("over");
  drop.ondrop = (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files);
  };
}
