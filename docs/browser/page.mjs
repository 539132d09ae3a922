import { load_model } from "./model.mjs";
import { resize } from "./resize.mjs";

const $ = (id) => document.getElementById(id);
const view = $("view"), context = view.getContext("2d", { willReadFrequently: true });
const MAX_SIDE = 1600;  /* of the picture as it is drawn: a face in it stays larger than the model's */
let model = null, square = null, newest = 0;

function fail(text) { $("failure").hidden = !text; $("failure").textContent = text || ""; }

function draw_table(emotions) {
  $("bars").tBodies[0].replaceChildren(...emotions.map((name) => {
    const row = document.createElement("tr"), cells = [0, 1, 2].map(() => row.insertCell());
    const track = document.createElement("div"), bar = document.createElement("div");
    track.className = "track"; bar.className = "bar"; track.append(bar); cells[1].append(track);
    cells[0].textContent = name;
    return row;
  }));
}

function show({ probabilities, valence, arousal }) {
  const top = probabilities.indexOf(Math.max(...probabilities));
  [...$("bars").tBodies[0].rows].forEach((row, i) => {
    row.querySelector(".bar").style.width = 100 * probabilities[i] + "%";
    row.cells[2].textContent = (100 * probabilities[i]).toFixed(1) + " %";
    row.className = i === top ? "top" : "";
  });
  $("status").textContent = `${model.emotions[top]}, ${(100 * probabilities[top]).toFixed(0)} %; valence ` +
    `${valence.toFixed(2)}, arousal ${arousal.toFixed(2)}; what is in the square is taken as one face`;
}

/* Keep the square within the picture, draw it and ask; an answer for an older one is left. */
async function look() {
  const side = Math.max(1, Math.round(Math.min(square.side, view.width, view.height)));
  const left = Math.round(Math.max(0, Math.min(view.width - side, square.left)));
  const top = Math.round(Math.max(0, Math.min(view.height - side, square.top)));
  square = { left, top, side };
  const style = $("square").style, mine = ++newest;
  style.left = 100 * left / view.width + "%"; style.width = 100 * side / view.width + "%";
  style.top = 100 * top / view.height + "%"; style.height = 100 * side / view.height + "%";
  if (!model) { return; }
  const pixels = context.getImageData(left, top, side, side).data;
  const answer = await model.classify(resize(pixels, side, side, model.size));
  if (mine === newest) { show(answer); }
}
const try_to = (work) => Promise.resolve().then(work).catch((error) => fail(error.message));

async function take(file) {
  if (!file) { return; }
  fail("");
  const opened = await createImageBitmap(file).catch(() => {
    throw new Error("This browser cannot open that file as a picture.");
  });
  const scale = Math.min(1, MAX_SIDE / Math.max(opened.width, opened.height));
  view.width = Math.max(1, Math.round(opened.width * scale));
  view.height = Math.max(1, Math.round(opened.height * scale));
  context.drawImage(opened, 0, 0, view.width, view.height);
  $("stage").hidden = false;
  $("stage").style.maxWidth = `calc(min(30rem, 70vh) * ${view.width / view.height})`;
  const side = Math.min(view.width, view.height);
  square = { left: (view.width - side) / 2, top: (view.height - side) / 2, side };
  await look();
}

let start = null;
const place = (event) => {
  const room = view.getBoundingClientRect(), scale = view.width / room.width;
  return [(event.clientX - room.left) * scale, (event.clientY - room.top) * scale];
};
$("stage").onpointerdown = (event) => { start = place(event); $("stage").setPointerCapture(event.pointerId); };
$("stage").onpointermove = (event) => {
  if (!start) { return; }
  const [x, y] = place(event), side = Math.max(Math.abs(x - start[0]), Math.abs(y - start[1]));
  if (side < 4) { return; }
  square = { left: x < start[0] ? start[0] - side : start[0], top: y < start[1] ? start[1] - side : start[1], side };
  try_to(look);
};
$("stage").onpointerup = $("stage").onpointercancel = () => { start = null; };
$("square").onkeydown = (event) => {
  const step = Math.max(1, square.side / 20), { left, top, side } = square;
  const grown = (more) => ({ left: left - more / 2, top: top - more / 2, side: Math.max(8, side + more) });
  const next = { ArrowLeft: { left: left - step, top, side }, ArrowRight: { left: left + step, top, side },
    ArrowUp: { left, top: top - step, side }, ArrowDown: { left, top: top + step, side },
    "+": grown(step), "=": grown(step), "-": grown(-step) }[event.key];
  if (!next) { return; }
  event.preventDefault();
  square = next;
  try_to(look);
};
$("file").onchange = () => {
  const [file] = $("file").files;
  $("file").value = "";  /* so that the same file may be chosen again */
  try_to(() => take(file));
};
document.addEventListener("dragover", (event) => event.preventDefault());
document.addEventListener("drop", (event) => { event.preventDefault(); try_to(() => take(event.dataTransfer.files[0])); });

try_to(async () => {
  model = await load_model().catch((error) => { $("status").textContent = ""; throw error; });
  draw_table(model.emotions);
  $("status").textContent = "The model is loaded.";
  if (square) { await look(); }
});
