/**
 * @file A hub on this machine: answers as huggingface.co does, with a separate host for large files, and fails on
 * demand.
 */
import { createHash } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A file of a test repository. */
export interface HubServerFile {
  readonly content: Uint8Array;
  /** Stored as a large file: named by SHA-256, and served by the other host. */
  readonly lfs?: boolean;
}

/** A test repository. */
export interface HubServerRepo {
  /** Commit → files. */
  readonly commits: Record<string, Record<string, HubServerFile>>;
  /** Branch or tag → commit. */
  readonly refs: Record<string, string>;
  /** The token without which the repository can't be read. */
  readonly gated?: string;
}

/** What goes wrong; changed by tests at any time. */
export interface HubServerFaults {
  /** Destroys the connection of the next content answers after so many bytes each, in turn. */
  dropAfter: number[];
  /** Sends every content byte flipped. */
  wrongBytes: boolean;
  /** Changes one bit at this offset of large files. */
  wrongBitAt: number | undefined;
  /** Sends nothing of a file behind this offset, until it is undefined again. */
  holdAt: number | undefined;
  /** Answers ranges with the whole file. */
  ignoreRange: boolean;
  /** The next answers have these statuses instead, whatever is asked for. */
  statuses: number[];
  /** Waits before the content, and between its pieces. */
  delayMs: number;
  /** Added to the sizes that the listing announces. */
  extraSize: number;
  /** Announces other content than is listed. */
  wrongEtag: boolean;
  /** Entries that the listing has in addition, as they are. */
  extraEntries: unknown[];
  /** Answers everything with this text, as captive portals do. */
  portal: string | undefined;
}

/** A request that was made. */
export interface HubServerRequest {
  readonly host: 'hub' | 'cdn';
  readonly method: string;
  readonly url: string;
  readonly authorization: string | undefined;
  readonly range: string | undefined;
}

const PAGE = 3;

/** The server; start it with {@link HubServer.start} and close it after the test. */
export class HubServer {
  readonly repos = new Map<string, HubServerRepo>();
  readonly requests: HubServerRequest[] = [];
  readonly faults: HubServerFaults = {
    dropAfter: [],
    wrongBytes: false,
    wrongBitAt: undefined,
    holdAt: undefined,
    ignoreRange: false,
    statuses: [],
    delayMs: 0,
    extraSize: 0,
    wrongEtag: false,
    extraEntries: [],
    portal: undefined,
  };
  readonly #hub: Server;
  readonly #cdn: Server;
  endpoint = '';
  cdn = '';

  private constructor() {
    const answer = (host: 'hub' | 'cdn') => (request: IncomingMessage, response: ServerResponse) => {
      // As the hub does, so that pages may ask it.
      response.setHeader('access-control-allow-origin', '*');
      response.setHeader(
        'access-control-expose-headers',
        'ETag,Link,Content-Range,X-Linked-Size,X-Linked-ETag,X-Error-Code',
      );
      this.#answer(host, request, response);
    };
    this.#hub = createServer(answer('hub'));
    this.#cdn = createServer(answer('cdn'));
  }

  static async start(): Promise<HubServer> {
    const server = new HubServer();
    server.endpoint = await listen(server.#hub);
    server.cdn = await listen(server.#cdn);
    return server;
  }

  /** Stops at once; open connections are cut. */
  async close(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  /** Requests for contents of files, without those for the API. */
  get contentRequests(): HubServerRequest[] {
    return this.requests.filter(({ host, url }) => host === 'cdn' || url.includes('/resolve/'));
  }

  #answer(host: 'hub' | 'cdn', request: IncomingMessage, response: ServerResponse) {
    const url = new URL(request.url ?? '/', 'http://host');
    const { authorization, range } = request.headers;
    this.requests.push({ host, method: request.method ?? '', url: url.pathname + url.search, authorization, range });
    const status = this.faults.statuses.shift();
    if (status !== undefined) return end(response, status, {}, 'broken for once');
    if (this.faults.portal !== undefined) return end(response, 200, {}, this.faults.portal);
    if (host === 'cdn') return this.#cdnFile(url, request, response);
    const api = /^\/api\/models\/(.+?)\/(tree|revision)\/([^/]+)$/.exec(url.pathname);
    if (api !== null)
      return this.#api(decodeURIComponent(api[1]), api[2], decodeURIComponent(api[3]), url, request, response);
    const file = /^\/(.+?)\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
    if (file !== null)
      return this.#resolve(file[1], decodeURIComponent(file[2]), decodeURIComponent(file[3]), request, response);
    end(response, 404, {}, 'no such page');
  }

  /** The files of a revision, or undefined after a refusal was sent. */
  #find(id: string, revision: string, request: IncomingMessage, response: ServerResponse) {
    const repo = this.repos.get(id);
    if (repo === undefined) {
      error(response, 404, 'RepoNotFound', 'Repository not found');
      return undefined;
    }
    if (repo.gated !== undefined && request.headers.authorization !== `Bearer ${repo.gated}`) {
      error(response, request.headers.authorization === undefined ? 401 : 403, 'GatedRepo', 'Access is restricted');
      return undefined;
    }
    const commit = repo.refs[revision] ?? revision;
    const files = repo.commits[commit];
    if (files === undefined) {
      error(response, 404, 'RevisionNotFound', `Invalid rev id: ${revision}`);
      return undefined;
    }
    return { commit, files };
  }

  #api(id: string, what: string, revision: string, url: URL, request: IncomingMessage, response: ServerResponse) {
    const found = this.#find(id, revision, request, response);
    if (found === undefined) return;
    const json = { 'content-type': 'application/json' };
    if (what === 'revision') {
      const info = {
        _id: '1',
        id,
        sha: found.commit,
        private: false,
        gated: false,
        lastModified: '2026-01-01T00:00:00Z',
      };
      return end(response, 200, json, JSON.stringify(info));
    }
    const entries: unknown[] = [{ type: 'directory', path: 'onnx', size: 0, oid: '0'.repeat(40) }];
    for (const [path, file] of Object.entries(found.files)) {
      const size = file.content.length + this.faults.extraSize;
      const lfs = file.lfs ? { oid: etagOf(file), size, pointerSize: 130 } : undefined;
      entries.push({ type: 'file', path, size, oid: gitHash(file.content), lfs });
    }
    entries.push(...this.faults.extraEntries);
    const start = Number(url.searchParams.get('cursor') ?? 0);
    url.searchParams.set('cursor', String(start + PAGE));
    const next = `<${this.endpoint}${url.pathname}${url.search}>; rel="next"`;
    const link: Record<string, string> = start + PAGE < entries.length ? { link: next } : {};
    end(response, 200, { ...json, ...link }, JSON.stringify(entries.slice(start, start + PAGE)));
  }

  #resolve(id: string, revision: string, path: string, request: IncomingMessage, response: ServerResponse) {
    const found = this.#find(id, revision, request, response);
    if (found === undefined) return;
    const file = found.files[path];
    if (file === undefined) return error(response, 404, 'EntryNotFound', 'Entry not found');
    const etag = this.faults.wrongEtag ? etagOf(file).replaceAll(/./g, 'a') : etagOf(file);
    const headers: Record<string, string> = { 'x-repo-commit': found.commit };
    if (!file.lfs) return this.#content(file.content, { ...headers, etag: `"${etag}"` }, request, response);
    headers['x-linked-etag'] = `"${etag}"`;
    headers['x-linked-size'] = String(file.content.length);
    headers['location'] = `${this.cdn}/${etagOf(file)}`;
    end(response, 302, headers, '');
  }

  #cdnFile(url: URL, request: IncomingMessage, response: ServerResponse) {
    const wanted = url.pathname.slice(1);
    const all = [...this.repos.values()].flatMap(({ commits }) =>
      Object.values(commits).flatMap((files) => Object.values(files)),
    );
    const file = all.find((candidate) => candidate.lfs && etagOf(candidate) === wanted);
    if (file === undefined) return end(response, 404, {}, 'no such object');
    // Stores have tags of their own.
    this.#content(file.content, { etag: `"store-${wanted.slice(0, 8)}"` }, request, response);
  }

  #content(content: Uint8Array, headers: Record<string, string>, request: IncomingMessage, response: ServerResponse) {
    const { faults } = this;
    let status = 200;
    let [start, stop] = [0, content.length];
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '');
    const condition = request.headers['if-range'];
    if (range !== null && !faults.ignoreRange && (condition === undefined || condition === headers['etag'])) {
      start = Number(range[1]);
      if (start >= content.length) return end(response, 416, { 'content-range': `bytes */${content.length}` }, '');
      status = 206;
      if (range[2] !== '') stop = Math.min(content.length, Number(range[2]) + 1);
      headers['content-range'] = `bytes ${start}-${stop - 1}/${content.length}`;
    }
    // A copy: slice of a Buffer is a view.
    const rest = new Uint8Array(content.subarray(start, stop));
    response.writeHead(status, { ...headers, 'content-length': rest.length, 'accept-ranges': 'bytes' });
    if (request.method === 'HEAD') {
      response.end();
      return;
    }
    const { wrongBitAt = -1 } = faults;
    if (wrongBitAt >= start && wrongBitAt < stop) rest[wrongBitAt - start] ^= 1;
    if (faults.wrongBytes) for (let i = 0; i < rest.length; i++) rest[i] ^= 0xff;
    const drop = faults.dropAfter.shift();
    const cut = drop !== undefined && drop < rest.length;
    void this.#send(response, cut ? rest.subarray(0, drop) : rest, start, cut);
  }

  async #send(response: ServerResponse, bytes: Uint8Array, start: number, thenDrop: boolean): Promise<void> {
    const piece = 64 * 1024;
    for (let at = 0; at < bytes.length && !response.destroyed; at += piece) {
      while (start + at >= (this.faults.holdAt ?? Number.POSITIVE_INFINITY) && !response.destroyed) await wait(20);
      if (this.faults.delayMs > 0) await wait(this.faults.delayMs);
      await new Promise<void>((resolve) => response.write(bytes.subarray(at, at + piece), () => resolve()));
    }
    if (!thenDrop) {
      response.end();
      return;
    }
    // A client loses what it has not read yet when the connection breaks; it gets the time to read.
    await wait(250);
    response.destroy();
  }
}

/** The name of a file's content: SHA-256 of large files, git's hash of the others. */
export function etagOf(file: HubServerFile): string {
  return file.lfs ? createHash('sha256').update(file.content).digest('hex') : gitHash(file.content);
}

function gitHash(content: Uint8Array): string {
  return createHash('sha1').update(`blob ${content.length}\0`).update(content).digest('hex');
}

function wait(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function end(response: ServerResponse, status: number, headers: Record<string, string>, body: string): void {
  response.writeHead(status, headers).end(body);
}

function error(response: ServerResponse, status: number, code: string, message: string): void {
  end(response, status, { 'x-error-code': code, 'x-error-message': message }, message);
}
