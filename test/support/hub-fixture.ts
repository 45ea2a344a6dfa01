/**
 * @file A hub with one small model, an empty cache, and shorthands for downloading from the one to the other.
 */
import { mkdtemp, realpath, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import { downloadFromHub, type HubDownloadOptions } from '../../src/hub/hub-node.ts';
import { HubError } from '../../src/util/errors.ts';
import { etagOf, HubServer, type HubServerFile, type HubServerRequest } from './hub-server.ts';
import { f32, safetensorsFile } from './safetensors-bytes.ts';

/** The repository on the server. */
export const ID = 'org/tiny';
/** The commit that its branch is at. */
export const COMMIT = 'a'.repeat(40);
/** A commit that is not there, unless a test makes it. */
export const NEXT = 'b'.repeat(40);

const SIZE = 100_000;
/** The bytes of its weights: tensor `a` counts from 0. */
export const weights = safetensorsFile({
  a: f32(
    [SIZE],
    Array.from({ length: SIZE }, (_, i) => i),
  ),
});

/** A small file. */
export const text = (content: string): HubServerFile => ({ content: new TextEncoder().encode(content) });
/** A large file. */
export const large = (content: Uint8Array): HubServerFile => ({ content, lfs: true });

/** The files of the repository. */
export const model: Record<string, HubServerFile> = {
  'README.md': text('# tiny'),
  'config.json': text('{"model_type":"llama"}'),
  'tokenizer.json': large(new TextEncoder().encode('{"model":{}}')),
  'model.safetensors': large(weights),
  'consolidated.safetensors': large(new Uint8Array(10)),
  'pytorch_model.bin': large(new Uint8Array(11)),
  'onnx/model.onnx': large(new Uint8Array(12)),
};

/** The server and the cache of the test that runs. */
class HubFixture {
  server!: HubServer;
  cacheDir!: string;

  get repoFolder(): string {
    return join(this.cacheDir, 'models--org--tiny');
  }

  blobOf(file: string): string {
    return join(this.repoFolder, 'blobs', etagOf(model[file]));
  }

  partialOf(file: string): string {
    return `${this.blobOf(file)}.keyhold.incomplete`;
  }

  /** The requests to the store of large files for the weights. */
  weightRequests(): HubServerRequest[] {
    const etag = etagOf(model['model.safetensors']);
    return this.server.requests.filter(({ host, url }) => host === 'cdn' && url.endsWith(etag));
  }

  download(options: HubDownloadOptions = {}, id = ID): Promise<string> {
    const { cacheDir } = this;
    const defaults = {
      cacheDir,
      endpoint: this.server.endpoint,
      retryDelayMs: 1,
      retries: 2,
      env: { HF_HOME: cacheDir },
    };
    return downloadFromHub(id, { ...defaults, ...options });
  }

  /** A download that must fail. */
  async refusal(options: HubDownloadOptions = {}, id = ID): Promise<HubError> {
    const error = await this.download(options, id).catch((e: unknown) => e);
    expect(error).toBeInstanceOf(HubError);
    return error as HubError;
  }
}

/** Gives each test of a file a server and a cache of its own. */
export function useHub(): HubFixture {
  const fixture = new HubFixture();
  beforeEach(async () => {
    fixture.server = await HubServer.start();
    fixture.server.repos.set(ID, { commits: { [COMMIT]: model }, refs: { main: COMMIT, 'refs/pr/1': COMMIT } });
    fixture.cacheDir = await realpath(await mkdtemp(join(tmpdir(), 'keyhold-hub-')));
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    await fixture.server.close();
    await rm(fixture.cacheDir, { recursive: true, force: true });
  });
  return fixture;
}
