import { homedir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { keyhold } from '../../test/support/cli.ts';
import { mergeAdapter, openModel } from '../util/retired.ts';
import { type LoadOptions, loadModel, openCheckpoint } from './load-model-node.ts';

describe('loadModel', () => {
  it('loads the model that ships, by its name or without one', async () => {
    const [model, named] = [await loadModel(), await loadModel('keyhold/tiny', { weights: 'f32' })];
    expect([model.name, named.name]).toEqual(['keyhold/tiny', 'keyhold/tiny']);
    expect(named.weights).toBe('float32');
    expect(named.fingerprint).toBe(model.fingerprint);
    await model.dispose();
    await named.dispose();
  });

  it('takes the adapter that ships by its name', async () => {
    const model = await loadModel('keyhold/tiny', { adapters: [{ path: 'keyhold/tiny-jargon', live: true }] });
    expect(model.adapters.names).toEqual(['tiny-jargon']);
    await model.dispose();
  });

  it('refuses options that it does not have', async () => {
    const load = (options: object) => loadModel('keyhold/tiny', options as LoadOptions);
    await expect(load({ wieghts: 'int8' })).rejects.toThrow('loadModel has no option wieghts; did you mean weights?');
    await expect(load({ adapters: ['./tuned'] })).rejects.toThrow('adapters[0] must be { path: "./tuned" }');
    await expect(load({ adapters: [{ paht: 'x' }] })).rejects.toThrow(
      'adapters[0] has no option paht; did you mean path?',
    );
    await expect(load({ adapters: [{ weight: 1 }] })).rejects.toThrow('adapters[0] has no path');
    await expect(loadModel('org/name', { hub: { offlin: true } } as object)).rejects.toThrow(
      'the hub has no option offlin; did you mean offline?',
    );
    await expect(load({ dtype: 'q8' })).rejects.toThrow('loadModel has no option dtype; it is called weights here');
    await expect(load({ gpuLayers: 9 })).rejects.toThrow('loadModel has no option gpuLayers; it is called device here');
    for (const [given, meant] of Object.entries({ q8: 'int8', fp16: 'f16', Q4_K_M: 'q4_k', itn8: 'int8' }))
      await expect(load({ weights: given })).rejects.toThrow(
        `there is no weight format "${given}"; did you mean ${meant}?`,
      );
  });

  it('says that a name was looked for as a path, too', async () => {
    const hub = { offline: true, cacheDir: '/nowhere' };
    await expect(openCheckpoint('my-models/llama', { hub })).rejects.toThrow(
      /There is no file or folder my-models\/llama here, so it was looked for on the hub/,
    );
  });

  it.each([
    ['https://huggingface.co/Qwen/Qwen3-0.6B/tree/main', 'give its name there, "Qwen/Qwen3-0.6B"'],
    ['https://huggingface.co/o/n/resolve/main/x/m.gguf?download=true', 'give its name there, "o/n/x/m.gguf"'],
    ['hf.co/o/n:Q4_K_M', 'is no name of the hub; give its name there, "o/n:Q4_K_M"'],
    ['hf:o/n/m.gguf', 'give its name there, "o/n/m.gguf"'],
    ['https://example.com/model.gguf', 'download the file and give its path'],
    ['file:///models/a%20b.gguf', 'give its path, "/models/a b.gguf"'],
    ['~/m.gguf', `give "${join(homedir(), 'm.gguf')}"`],
    ['qwen3:0.6b', 'has no organization, as names of Ollama have none; give the name of the model on the'],
  ])('says what to give in place of %s', async (name, told) => {
    await expect(loadModel(name)).rejects.toThrow(told);
    if (/^(https?|file):/.test(name)) await expect(loadModel(new URL(name) as never)).rejects.toThrow(told);
  });

  it('names the model that ships beside a name that is nearly its own', async () => {
    const hub = { offline: true, cacheDir: '/nowhere' };
    await expect(openCheckpoint('keyhold/tinny', { hub })).rejects.toThrow(/The model that ships is keyhold\/tiny$/);
  });

  it('does not ask the hub for what is named like a file', async () => {
    for (const name of ['nope.gguf', 'model.onnx', 'pytorch_model.bin'])
      await expect(loadModel(name)).rejects.toThrow(`${name}: does not exist`);
  });

  it('says when the hub is tried again', async () => {
    const retries: number[] = [];
    const hub = {
      endpoint: 'http://127.0.0.1:9',
      cacheDir: '/nowhere',
      retries: 2,
      retryDelayMs: 1,
      onRetry: ({ failures }: { failures: number }) => retries.push(failures),
    };
    await expect(openCheckpoint('org/name', { hub })).rejects.toThrow(/the connection to http:\/\/127.0.0.1:9 failed/);
    expect(retries).toEqual([1, 2]);
  });
});

it('the command takes f32 for float32', async () => {
  expect((await keyhold(['estimate', '-w', 'f32', '--json'])).stdout).toContain('"format":"float32"');
  expect((await keyhold(['estimate', '-w', 'f64'])).stderr).toContain(
    'Allowed choices are auto, float32, int8, int4, f16,',
  );
});

it('old names say the new ones', () => {
  expect(() => openModel('x')).toThrow(/openModel is called openCheckpoint .*keyhold\/checkpoint/);
  expect(() => mergeAdapter('x')).toThrow(/mergeAdapter is called mergeAdapters/);
});
