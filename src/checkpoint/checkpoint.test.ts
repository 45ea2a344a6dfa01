import { describe, expect, it } from 'vitest';
import { f32, safetensorsFile } from '../../test/support/safetensors-bytes.ts';
import { CheckpointError } from '../util/errors.ts';
import { pathFlaw } from '../util/files/relative-path.ts';
import { buildCheckpoint, type CheckpointFiles } from './checkpoint.ts';
import { checkpointFromBlobs } from './from-blobs.ts';

const A = safetensorsFile({ a: f32([2], [1, 2]) });
const B = safetensorsFile({ b: f32([1], [3]) });

function blobs(files: Record<string, string | Uint8Array | object>): Map<string, Blob> {
  const entries = Object.entries(files).map(([name, content]): [string, Blob] => {
    const part = typeof content === 'string' || content instanceof Uint8Array ? content : JSON.stringify(content);
    return [name, new Blob([part as BlobPart])];
  });
  return new Map(entries);
}

function index(map: Record<string, unknown>): object {
  return { metadata: { total_size: 12 }, weight_map: map };
}

const config = { model_type: 'llama' };
const INDEX = 'model.safetensors.index.json';
const ONE = 'model-00001-of-00002.safetensors';
const TWO = 'model-00002-of-00002.safetensors';

async function refusal(files: Record<string, string | Uint8Array | object>): Promise<string> {
  const error = await checkpointFromBlobs(blobs(files), 'here').catch((e: unknown) => e);
  expect(error).toBeInstanceOf(CheckpointError);
  return (error as Error).message;
}

describe('checkpointFromBlobs', () => {
  it('opens a single file', async () => {
    const files = blobs({
      'config.json': config,
      'model.safetensors': A,
      'tokenizer.json': '{"x":1}',
      'bad.json': '{',
      'python.json': '{"a": [0.0, Infinity, -Infinity, NaN], "Infinity": "a \\" NaN"}',
    });
    files.set('chat_template.jinja', new Blob(['{{ hi }}']));
    const checkpoint = await checkpointFromBlobs(files, 'here');
    expect(checkpoint.config).toEqual(config);
    expect([...(await checkpoint.tensors.get('a')!.readFloats(0, 2))]).toEqual([1, 2]);
    expect(await checkpoint.readJson('tokenizer.json')).toEqual({ x: 1 });
    expect(await checkpoint.readJson('missing.json')).toBeUndefined();
    // Python's json writes numbers that JSON has not.
    expect(await checkpoint.readJson('python.json')).toEqual({
      a: [0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, null],
      Infinity: 'a " NaN',
    });
    expect(await checkpoint.readText('chat_template.jinja')).toBe('{{ hi }}');
    await expect(checkpoint.readJson('bad.json')).rejects.toThrow(/here: bad\.json is not valid JSON/);
    await expect(checkpoint.readJson('../config.json')).rejects.toThrow(/leaves the folder/);
    await checkpoint.close();
    await checkpoint.close();
  });

  it('opens shards', async () => {
    const weights = { [INDEX]: index({ a: ONE, b: TWO }), [ONE]: A, [TWO]: B };
    const checkpoint = await checkpointFromBlobs(blobs({ 'config.json': config, ...weights }));
    expect([...checkpoint.tensors.keys()].sort()).toEqual(['a', 'b']);
    expect([...(await checkpoint.tensors.get('b')!.readFloats(0, 1))]).toEqual([3]);
  });

  it('opens a chosen folder, whose names are paths', async () => {
    const files = { 'pick/config.json': config, 'pick/model.safetensors': A, 'pick/sub/config.json': {} };
    expect((await checkpointFromBlobs(blobs(files))).config).toEqual(config);
  });

  it('takes the only safetensors file, but no lone shard', async () => {
    const checkpoint = await checkpointFromBlobs(blobs({ 'config.json': config, 'weights.safetensors': A }));
    expect(checkpoint.tensors.has('a')).toBe(true);
    expect(await refusal({ 'config.json': config, [ONE]: A })).toContain(INDEX);
    expect(await refusal({ 'config.json': config, 'x.safetensors': A, 'y.safetensors': B })).toContain(
      '2 .safetensors files',
    );
  });

  it('prefers model.safetensors to whatever else lies there', async () => {
    const files = { 'config.json': config, 'model.safetensors': A, 'consolidated.safetensors': B };
    expect([...(await checkpointFromBlobs(blobs(files))).tensors.keys()]).toEqual(['a']);
  });

  it('has an identity that follows content, config and modification time', async () => {
    const identity = async (weights: Blob, settings: object = config) => {
      const files = blobs({ 'config.json': settings });
      files.set('model.safetensors', weights);
      return (await checkpointFromBlobs(files)).identity;
    };
    const part = A as unknown as BlobPart;
    const first = await identity(new Blob([part]));
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    expect(await identity(new Blob([part]))).toBe(first);
    expect(await identity(new Blob([B as unknown as BlobPart]))).not.toBe(first);
    expect(await identity(new Blob([part]), { model_type: 'qwen2' })).not.toBe(first);
    const early = await identity(new File([part], 'x', { lastModified: 1 }));
    expect(await identity(new File([part], 'x', { lastModified: 2 }))).not.toBe(early);
  });

  it('refuses a missing or invalid config.json', async () => {
    expect(await refusal({ 'model.safetensors': A })).toMatch(/here: there is no config\.json/);
    expect(await refusal({ 'config.json': '{"a":', 'model.safetensors': A })).toMatch(/config\.json is not valid JSON/);
    expect(await refusal({ 'config.json': '[1]', 'model.safetensors': A })).toMatch(/must be a JSON object/);
    expect(await refusal({ 'config.json': 'null', 'model.safetensors': A })).toMatch(/must be a JSON object/);
    expect(await refusal({ 'config.json': Uint8Array.of(0xff, 0xfe), 'model.safetensors': A })).toMatch(/UTF-8/);
  });

  it('says what to do where there are no safetensors', async () => {
    expect(await refusal({ 'config.json': config, 'pytorch_model.bin': 'x' })).toMatch(
      /pytorch_model\.bin.*convert them to safetensors/,
    );
    expect(await refusal({ 'config.json': config, 'model.gguf': 'x' })).toMatch(/GGUF/);
    expect(await refusal({ 'config.json': config })).toMatch(/there are no weights/);
  });

  it('refuses an index that leaves the folder', async () => {
    for (const name of [
      '../x.safetensors',
      '/etc/x.safetensors',
      'a\\b.safetensors',
      'C:x.safetensors',
      'a/../../x.safetensors',
      '',
    ]) {
      const message = await refusal({ 'config.json': config, [INDEX]: index({ a: name }), [ONE]: A });
      expect(message).toContain(`${INDEX}: the file name ${JSON.stringify(name)}`);
    }
  });

  it('refuses an index that is damaged', async () => {
    const broken = (text: string | object) => refusal({ 'config.json': config, [INDEX]: text, [ONE]: A });
    expect(await broken('{')).toMatch(/not valid JSON/);
    expect(await broken('[]')).toMatch(/must be a JSON object/);
    expect(await broken('{}')).toMatch(/weight_map/);
    expect(await broken({ weight_map: [] })).toMatch(/weight_map/);
    expect(await broken(index({ a: 1 }))).toMatch(/"a" is not a string/);
    expect(await broken(index({ a: 'config.json' }))).toMatch(/not a \.safetensors file/);
    expect(await broken(index({}))).toMatch(/no tensors/);
    expect(await broken(`{"weight_map":{"a":"${ONE}","a":"${TWO}"}}`)).toMatch(/"a" twice/);
  });

  it('refuses shards that do not fit the index', async () => {
    const message = await refusal({ 'config.json': config, [INDEX]: index({ a: ONE, b: TWO }), [ONE]: A });
    expect(message).toContain(`1 of 2 weight files are missing: ${TWO}`);
    const promised = { 'config.json': config, [INDEX]: index({ a: ONE, b: TWO, c: TWO }), [ONE]: A, [TWO]: B };
    expect(await refusal(promised)).toContain(`promises tensor "c" in ${TWO}, but no shard has it`);
    const moved = { 'config.json': config, [INDEX]: index({ a: TWO, b: ONE }), [ONE]: A, [TWO]: B };
    expect(await refusal(moved)).toContain(`"a" in ${TWO}, but it is in ${ONE}`);
    const both = safetensorsFile({ a: f32([1], [9]), b: f32([1], [3]) });
    const twice = { 'config.json': config, [INDEX]: index({ a: ONE, b: TWO }), [ONE]: A, [TWO]: both };
    expect(await refusal(twice)).toContain(`tensor "a" is in both ${ONE} and ${TWO}`);
    const cut = { 'config.json': config, [INDEX]: index({ a: ONE, b: TWO }), [ONE]: A, [TWO]: B.slice(0, -1) };
    expect(await refusal(cut)).toMatch(new RegExp(`here: ${TWO}: tensor "b" ends`));
  });
});

describe('buildCheckpoint', () => {
  it('closes what it opened, whether it succeeds or not', async () => {
    const contents = blobs({
      'config.json': config,
      [INDEX]: index({ a: ONE, b: TWO }),
      [ONE]: A,
      [TWO]: B.slice(0, 9),
    });
    let open = 0;
    const files: CheckpointFiles = {
      name: 'counted',
      list: async () => [...contents.keys()],
      async open(file) {
        const blob = contents.get(file);
        if (blob === undefined) return undefined;
        open++;
        const bytes = new Uint8Array(await blob.arrayBuffer());
        return {
          name: file,
          size: bytes.length,
          read: async (offset, length) => bytes.slice(offset, offset + length),
          close: async () => {
            open--;
          },
        };
      },
    };
    await expect(buildCheckpoint(files)).rejects.toThrow(CheckpointError);
    expect(open).toBe(0);
    contents.set(TWO, new Blob([B as unknown as BlobPart]));
    const checkpoint = await buildCheckpoint(files);
    expect(open).toBe(2);
    await checkpoint.close();
    expect(open).toBe(0);
  });
});

describe('pathFlaw', () => {
  it('accepts relative paths and nothing else', () => {
    for (const name of ['a', 'a.b-c_d', 'sub/dir/a.safetensors', '..a', 'a..', '.hidden'])
      expect(pathFlaw(name)).toBeUndefined();
    for (const name of [
      '',
      '.',
      '..',
      '/a',
      'a//b',
      'a/',
      './a',
      'a/..',
      'a\0',
      'a\n',
      'c:/a',
      '\\\\host\\a',
      'x'.repeat(1025),
    ]) {
      expect(pathFlaw(name), name).toBeTypeOf('string');
    }
  });
});
