/* The player with its timeline, the camera, and what starts everything. */
let stream = null, turn = 0, charted = "";

const seen_at = (item, frame) => frame.faces.find((face) => face.id === item.chosen);

/* Stacked probabilities of the chosen face, a column for each moment; a gap where it is not seen. */
function draw_timeline(item) {
  const end = item.duration || 1, at = Math.min(1, video.currentTime / end);
  $("cursor").style.left = 100 * at + "%";
  $("clock").textContent = `${video.currentTime.toFixed(1)} of ${end.toFixed(1)} s` +
    (item.state === "working" ? `; read: ${progress(item)}` : "") +
    (item.step > 1 / item.rate + 1e-6 ? `; a long video: one moment in ${item.step.toFixed(2)} s` : "");
  const slider = $("timeline");
  slider.setAttribute("aria-valuemax", end.toFixed(2));
  slider.setAttribute("aria-valuenow", video.currentTime.toFixed(2));
  slider.setAttribute("aria-valuetext", `${video.currentTime.toFixed(1)} seconds: ${$("status").textContent}`);
  const key = [item.url, item.chosen, item.frames.length].join();
  if (key === charted) { return; }
  charted = key;
  const paths = metadata.emotions.map(() => ""), lines = { valence: "", arousal: "" };
  const wide = 100 * item.step / end, round = (x) => x.toFixed(3);
  let trail = "", before = false;
  item.frames.forEach((frame) => {
    const face = seen_at(item, frame);
    if (face) {
      const x = 100 * frame.time / end, span = Math.min(wide, 100 - x);
      let y = 0;
      metadata.emotions.forEach((name, i) => {
        const p = face.probabilities[name];
        paths[i] += `M${round(x)} ${round(y)}h${round(span)}v${round(p)}h${round(-span)}z`;
        y += p;
      });
      for (const name of ["valence", "arousal"]) {
        lines[name] += `${before ? "L" : "M"}${round(x)} ${round(-face[name])}h${round(span)}`;
      }
      trail += `${before ? "L" : "M"}${round(50 * face.valence)} ${round(-50 * face.arousal)}`;
    }
    before = Boolean(face);
  });
  $("areas").setAttribute("viewBox", "0 0 100 1");
  fill($("areas"), metadata.emotions, () => document.createElementNS($("lines").namespaceURI, "path"),
    (path, name, i) => { path.setAttribute("d", paths[i]); path.setAttribute("fill", colour(name)); });
  for (const name of ["valence", "arousal"]) { $(name).setAttribute("d", lines[name]); }
  $("trail").setAttribute("d", trail);
}

function go_to(time) {
  if (shown && shown.kind === "video" && shown.duration) {
    video.currentTime = Math.max(0, Math.min(shown.duration - 1e-3, time));
  }
}

function toggle_play() { if (video.paused) { video.play().catch((error) => fail(error.message)); } else { video.pause(); } }

function while_playing() {
  if (video.paused || video.hidden) { return; }
  show();
  requestAnimationFrame(while_playing);
}
video.onplay = () => { $("play").textContent = "Pause"; $("status").setAttribute("aria-live", "off"); while_playing(); };
video.onpause = () => { $("play").textContent = "Play"; $("status").setAttribute("aria-live", "polite"); };
video.onseeked = video.ontimeupdate = () => { if (!video.hidden) { show(); } };
video.onloadedmetadata = () => fit(video.videoWidth, video.videoHeight);
photo.onload = () => fit(photo.naturalWidth, photo.naturalHeight);
video.onclick = $("play").onclick = toggle_play;
$("timeline").onpointerdown = $("timeline").onpointermove = (event) => {
  if (event.type === "pointermove" && !event.buttons) { return; }
  const room = $("timeline").getBoundingClientRect();
  if (shown && shown.duration) { go_to((event.clientX - room.left) / room.width * shown.duration); }
};
$("timeline").onkeydown = (event) => {
  const step = (shown && shown.step) || 0.2, now = Math.floor(video.currentTime / step + 1e-3) * step;
  const goals = { ArrowLeft: now - step, ArrowDown: now - step, ArrowRight: now + step, ArrowUp: now + step,
    PageDown: now - 10 * step, PageUp: now + 10 * step, Home: 0, End: Infinity };
  if (event.key === " ") { toggle_play(); } else if (event.key in goals) { go_to(goals[event.key] + 1e-4); } else { return; }
  event.preventDefault();
};

/* `turn` grows with each start and end of the camera: after every wait, one that is no longer the
   newest leaves everything alone. */
function stop_camera() {
  if (stream) { stream.getTracks().forEach((track) => track.stop()); }
  stream = null; turn++;
  $("status").setAttribute("aria-live", "polite");
  $("camera").textContent = "Camera on";
  $("camera").setAttribute("aria-pressed", "false");
}

async function film() {
  if (stream) { stop_camera(); choose_item(items[0] || null); return; }
  const mine = ++turn, lens = document.createElement("video");
  $("camera").disabled = true;  /* the browser asks once, and nobody knows for how long */
  try {
    const opened = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
    if (mine !== turn) { opened.getTracks().forEach((track) => track.stop()); return; }
    stream = opened;
  } catch (error) { if (mine === turn) { fail("The camera cannot be used: " + error.message); } return; }
  finally { $("camera").disabled = false; }
  fail("");
  const item = { kind: "camera", frames: [], chosen: 1, state: "working" };
  choose_item(item);
  $("status").setAttribute("aria-live", "off");  /* many a second are too many to be read out */
  $("camera").textContent = "Camera off";
  $("camera").setAttribute("aria-pressed", "true");
  lens.muted = true; lens.playsInline = true; lens.srcObject = stream;
  await lens.play().catch(() => {});  /* it does not if a photo came meanwhile */
  const began = performance.now(), wanted = () => mine === turn, canvas = document.createElement("canvas");
  /* One picture at a time, always the newest: a slow server lowers the rate, not the freshness. */
  while (wanted()) {
    try {
      const wide = lens.videoWidth, high = lens.videoHeight, side = Math.min(wide, high), find = finding();
      const part = find ? [0, 0, wide, high] : [(wide - side) / 2, (high - side) / 2, side, side];
      place(canvas, lens, ...part, allowed());
      const [picture, blob] = await Promise.all([createImageBitmap(canvas),
        new Promise((done) => canvas.toBlob(done, "image/jpeg", 0.92))]);
      if (!wanted()) { return; }  /* nothing is sent after the camera is off */
      const size = { width: canvas.width, height: canvas.height };
      const frame = await predict(blob, find, (performance.now() - began) / 1000, size, 1, () => false);
      if (!wanted()) { return; }
      number_faces(item, frame);
      item.frames = [frame];
      place(view, picture, 0, 0, size.width, size.height, Infinity);
      if (picture.close) { picture.close(); }
      fit(size.width, size.height);
      fail(""); show();
    } catch (error) {
      if (!wanted()) { return; }
      fail(error.message);
      if (!error.again) { stop_camera(); break; }
      await pause(1);
    }
    await new Promise(requestAnimationFrame);
  }
}

async function learn() {
  try {
    const model = await ask("/v2/models/neurogaze");
    metadata = model.parameters;
    $("synthetic").hidden = !metadata.synthetic;
    $("detecting").hidden = !metadata.detect;
    $("no-detector").hidden = metadata.detect;
    $("engine").textContent = "Engine: " + metadata.engine;
    draw_scales();
    fail("");
    for (const item of items) { if (item.state === "waiting") { item.find = finding(); item.error = ""; } }
    show();
    run();
  } catch (error) { fail(error.message); }
}

$("file").onchange = () => { add($("file").files); $("file").value = ""; };
$("secret").onchange = learn;
$("camera").onclick = film;
$("detect").onchange = () => again(shown);
$("rate").onchange = () => { if (shown && shown.kind === "video") { again(shown); } };
$("save").onclick = save;
$("clear").onclick = () => {
  items.forEach((item) => URL.revokeObjectURL(item.url));
  items = [];
  stop_camera(); choose_item(null); fail("");
};
if (!navigator.mediaDevices) {
  $("camera").disabled = true;
  $("camera").title = "Browsers allow the camera on localhost and https only.";
}
for (const name of ["dragenter", "dragover"]) {
  document.addEventListener(name, (event) => { event.preventDefault(); $("drop").classList.add("over"); });
}
document.addEventListener("dragleave", () => $("drop").classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault(); $("drop").classList.remove("over");
  add(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => add(event.clipboardData.files));
learn();
