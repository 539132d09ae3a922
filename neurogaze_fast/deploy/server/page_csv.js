/* The table of all answers: a row for each face, and one that says so where there is none. */
function csv() {
  const edges = ["left", "top", "right", "bottom"], scores = [...metadata.emotions, "valence", "arousal"];
  const rows = [["source", "time_s", "face", ...edges, "score", "label", ...scores, "note"]];
  const blank = ["", "", "", "", "", "", ...scores.map(() => "")];
  for (const item of items) {
    for (const frame of item.frames) {
      const where = [item.name, frame.time === null ? "" : frame.time.toFixed(3)];
      for (const face of frame.faces) {
        const box = face.box ? face.box.map((edge) => edge.toFixed(1)) : ["", "", "", ""];
        rows.push([...where, face.id, ...box, face.box ? face.score.toFixed(4) : "", face.label,
          ...metadata.emotions.map((name) => face.probabilities[name].toFixed(6)),
          face.valence.toFixed(4), face.arousal.toFixed(4), face.box ? "" : "whole picture taken as one face"]);
      }
      const left = left_out(frame);
      if (left || !frame.faces.length) {
        rows.push([...where, "", ...blank, left ? left + " faces left out" : "no face found"]);
      }
    }
    if (item.state !== "done") { rows.push([item.name, "", "", ...blank, item.error || "not finished"]); }
  }
  const quoted = (cell) => /[",\r\n]/.test(cell) ? '"' + String(cell).replaceAll('"', '""') + '"' : cell;
  return rows.map((row) => row.map(quoted).join(",") + "\r\n").join("");
}
const left_out = (frame) => frame.left_out ? frame.left_out.small + frame.left_out.many : 0;

function save() {
  const link = document.createElement("a"), url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  link.href = url; link.download = "neurogaze.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
