// The files of a container: looking around, up, down and away with them.

import { confirmed, element, make, say } from "./dom.js";
import { messageOf } from "./problems.js";
import * as service from "./service.js";
import * as words from "./words.js";

const PAGE = 200;
const LARGEST_DOWNLOAD_BYTES = 256 * 1024 * 1024;
const HOUR_MS = 3_600_000;

export class Files {
  constructor(leaseId, token) {
    this.leaseId = leaseId;
    this.token = token;
    this.path = "/root";
    element("upload").onchange = () => this.act(() => this.upload(element("upload").files[0]));
    element("folder-up").onclick = () => this.list(this.path.replace(/\/[^/]*$/, "") || "/");
  }

  // `path` is percent-encoded, as the service gives it.
  list(path) {
    return this.act(async () => {
      const answer = await this.call("GET", "folders", `path=${path}&limit=${PAGE}`);
      this.path = path;
      element("folder").textContent = decoded(path);
      element("folder-up").disabled = path === "/";
      element("entries").replaceChildren();
      this.add(answer);
    });
  }

  add(answer) {
    element("entries").append(...answer.entries.map((entry) => this.row(entry)));
    say("folder-empty", element("entries").children.length ? "" : words.EMPTY_FOLDER);
    if (!answer.after) return;
    const more = make("button", { type: "button" }, words.MORE);
    const row = make("li", {}, more);
    more.onclick = () =>
      this.act(async () => {
        const after = encodeURIComponent(answer.after);
        const next = await this.call("GET", "folders", `path=${this.path}&limit=${PAGE}&after=${after}`);
        row.remove();
        this.add(next);
      });
    element("entries").append(row);
  }

  row(entry) {
    const isFolder = entry.kind === "folder";
    const open = () => (isFolder ? this.list(entry.path) : this.act(() => this.download(entry)));
    const label = `${isFolder ? words.OPEN : words.DOWNLOAD} ${entry.name}`;
    const size = isFolder ? words.FOLDER : words.bytes(entry.sizeBytes);
    const remove = make("button", { type: "button", ariaLabel: `${words.REMOVE} ${entry.name}` }, words.REMOVE);
    remove.onclick = () => this.act(() => this.remove(entry));
    return make(
      "li",
      {},
      make("button", { type: "button", className: "link", ariaLabel: label, onclick: open }, entry.name),
      make("span", { className: "faint" }, size),
      remove,
    );
  }

  async download(entry) {
    if (entry.sizeBytes > LARGEST_DOWNLOAD_BYTES) {
      return say("files-said", words.tooLarge(["pve402", "get", this.leaseId, decoded(entry.path)]));
    }
    const path = `/management/files/${this.leaseId}?path=${entry.path}`;
    const answer = await service.reached("GET", path, { token: this.token, limitMs: HOUR_MS });
    const url = URL.createObjectURL(await answer.blob());
    make("a", { href: url, download: entry.name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
  }

  async upload(file) {
    if (!file) return;
    element("upload").value = "";
    say("files-said", words.uploading(file.name));
    const query = `path=${below(this.path, file.name)}`;
    try {
      await this.put(query, file, { "If-None-Match": "*" });
    } catch (error) {
      if (error.status !== 412) throw error;
      const question = { title: words.replaceTitle(file.name), text: words.replaceText };
      if (!(await confirmed({ ...question, yes: words.REPLACE, no: words.CANCEL }))) {
        return say("files-said", "");
      }
      await this.put(query, file, {});
    }
    await this.list(this.path);
    say("files-said", words.uploaded(file.name));
  }

  put(query, file, headers) {
    const path = `/management/files/${this.leaseId}?${query}`;
    return service.call("PUT", path, { body: file, headers, token: this.token, limitMs: HOUR_MS });
  }

  async remove(entry) {
    const question = { title: words.removeTitle(entry.name), text: words.removeText(decoded(entry.path)) };
    if (!(await confirmed({ ...question, yes: words.REMOVE, no: words.CANCEL }))) return;
    await this.call("DELETE", "entries", `path=${entry.path}`);
    await this.list(this.path);
  }

  call(method, what, query) {
    return service.call(method, `/management/${what}/${this.leaseId}?${query}`, { token: this.token });
  }

  async act(work) {
    say("files-said", "");
    try {
      await work();
    } catch (error) {
      say("files-said", messageOf(error), { isBad: true });
    }
  }
}

const below = (folder, name) => `${folder === "/" ? "" : folder}/${encodeURIComponent(name)}`;

// For people; names that are not UTF-8 stay as they are sent.
function decoded(path) {
  try {
    return decodeURIComponent(path);
  } catch {
    return path;
  }
}
