import { describe, expect, it, vi } from 'vitest';
import { loadConversation, saveConversation } from '../chat/conversation-node.ts';
import { loadCache, saveCache } from '../engine/snapshot-node.ts';
import { mergeAdapters, openAdapterFolder } from '../exports/adapters-node.ts';
import { aiSdkModel } from '../exports/ai-sdk-node.ts';
import {
  ANSWER_FORMATS,
  AnswerParser,
  openCheckpointFolder,
  planMemory,
  planModel,
  preparedFormats,
  writeGguf,
} from '../exports/checkpoint-node.ts';
import { compare, divergence, measureSpeed, perplexity, recall, ruler, rulerCases } from '../exports/eval.ts';
import { createCache, definePolicy } from '../exports/policies.ts';
import {
  createApp,
  folderStore,
  OnDemandModel,
  ServedEncoder,
  ServedModel,
  s3Store,
  serve,
} from '../exports/server.ts';
import { Conversation, downloadFromHub, loadModel, loadModelInWorker, loadReranker, TINY_ADAPTER } from '../node.ts';
import { InputError } from '../util/errors.ts';
import { loadModel as loadInPage } from '../web/load-model.ts';
import { loadEncoder } from './load-encoder-node.ts';
import { openCheckpoint } from './load-model-node.ts';

/** What a variable that is not set gives to a program that no compiler has checked. */
const unset = undefined as never;

const refusal = async (call: () => unknown): Promise<string> => {
  try {
    await call();
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    return (error as Error).message;
  }
  throw new Error('not refused');
};

/** Calls with these as their options. */
type OptionCalls = Readonly<Record<string, (options: never) => unknown>>;

/** Options that are wrong, and how a message shows them. */
const WRONG = [
  [null, 'null'],
  [5, '5'],
  ['lastrec', '"lastrec"'],
] as const;

async function refuse(calls: OptionCalls, wrong: readonly (readonly [unknown, string])[] = WRONG): Promise<void> {
  for (const [what, call] of Object.entries(calls))
    for (const [options, told] of wrong)
      expect(await refusal(() => call(options as never)), what).toMatch(
        new RegExp(`^the options of ${what} must be an object( with [\\w, ]+)?, but are ${told}$`),
      );
}

describe('options', () => {
  it('that have no defaults are named where they are not given, as such from a variable that is not set', async () => {
    await using model = await loadModel();
    const calls: OptionCalls = {
      serve,
      createApp,
      s3Store,
      rulerCases,
      compare: (options) => compare(model, options),
      'an OnDemandModel': (options) => new OnDemandModel(options),
      'a ServedModel': (options) => new ServedModel(model, options),
      'a ServedEncoder or ServedReranker': (options) => new ServedEncoder(unset, options),
      definePolicy,
      'a cache': (options) => createCache(unset, options),
    };
    await refuse(calls, [...WRONG, [undefined, 'undefined']]);
    expect(await refusal(() => serve(unset))).toBe(
      'the options of serve must be an object with models, but are undefined',
    );
    expect(await refusal(() => serve({ models: unset }))).toBe('serve needs the option models, which is not given');
    expect(await refusal(() => new OnDemandModel({ id: 'a' } as never))).toBe(
      'an OnDemandModel needs the option cacheClasses, which is not given',
    );
    expect(await refusal(() => new ServedModel(unset, unset))).toMatch(
      /the model of a ServedModel must be .* undefined/,
    );
  });

  it('are an object also where all have defaults', async () => {
    const checkpoint = await openCheckpoint('keyhold/tiny');
    const { config } = planModel(checkpoint);
    await using model = await loadModel();
    await using thread = await loadModelInWorker();
    await using encoder = await loadEncoder();
    const cache = model.createCache();
    const merge = [{ path: TINY_ADAPTER }];
    await refuse({
      planMemory: (options) => planMemory(config, options),
      openCheckpoint: (options) => openCheckpoint('keyhold/tiny', options),
      preparedFormats: (options) => preparedFormats('keyhold/tiny', options),
      writeGguf: (options) => writeGguf(checkpoint, 'out.gguf', options),
      mergeAdapters: (options) => mergeAdapters('keyhold/tiny', merge, 'out', options),
      loadModel: (options) => loadModel('keyhold/tiny', options),
      loadModelInWorker: (options) => loadModelInWorker('keyhold/tiny', options),
      perplexity: (options) => perplexity(model, 'text', options),
      divergence: (options) => divergence(model, 'text', options),
      recall: (options) => recall(model, [], options),
      ruler: (options) => ruler(model, options),
      measureSpeed: (options) => measureSpeed(model, options),
      aiSdkModel: (options) => aiSdkModel(model, options),
      'an AnswerParser': (options) => new AnswerParser(ANSWER_FORMATS[0], options),
      prefill: (options) => model.prefill(cache, [1], options),
      calibrateFor: (options) => model.calibrateFor({}, options),
      step: (options) => model.step(cache, [[1]], options),
      prepare: (options) => model.prepare(cache, options),
      encode: (options) => model.tokenizer.encode('a', options),
      decode: (options) => model.tokenizer.decode([1], options),
    });
    for (const each of [model, thread])
      await refuse({
        generate: (options) => each.generate('a', options).result(),
        generateBatch: (options) => each.generateBatch(['a'], options),
        score: (options) => each.score('a', options),
        calibrate: (options) => each.calibrate(options),
        createCache: (options) => each.createCache(options),
        restore: (options) => each.restore(new Uint8Array(), options),
      });
    await refuse({ encode: (options) => encoder.encode({ ids: [[1]] }, options) });
    await checkpoint.close();
  });

  it('do not hide that the model or its config is none', async () => {
    expect(await refusal(() => planMemory(unset))).toBe(
      'planMemory needs a config, as planModel and readConfig give it, but got undefined',
    );
    for (const measure of [perplexity, divergence, recall, ruler, measureSpeed, compare])
      expect(await refusal(() => measure(unset, unset, unset))).toBe(
        `the model of ${measure.name} must be one that loadModel gave, but is undefined`,
      );
  });
});

describe('an argument that is undefined', () => {
  it.each([
    ['loadModel', loadModel],
    ['loadEncoder', loadEncoder],
    ['loadModelInWorker', loadModelInWorker],
  ])('is no model for %s, which loads the small one only where it is called without arguments', async (name, load) => {
    const told =
      `${name} got undefined as the model, such as from a variable that is not set. Name a model; ` +
      `for the small one that ships, call ${name}() or ${name}('keyhold/tiny')`;
    expect(await refusal(() => load(unset))).toBe(told);
    expect(await refusal(() => load(unset, { threads: 1 }))).toBe(told);
    const model = await load();
    expect(model.name).toBe('keyhold/tiny');
    await model.dispose();
  });

  it('is no model elsewhere', async () => {
    for (const load of [loadModel, loadEncoder, loadModelInWorker])
      expect(await refusal(() => load(null as never))).toMatch(/^the model must be a folder, a file.*, but is null$/);
    for (const open of [openCheckpoint, preparedFormats, loadReranker])
      expect(await refusal(() => open(unset))).toMatch(/^the model must be .*, but is undefined$/);
    expect(await refusal(() => mergeAdapters(unset, [{ path: TINY_ADAPTER }], 'out'))).toMatch(/, but is undefined$/);
    expect(await refusal(() => downloadFromHub(unset))).toMatch(/needs the id of a model, .* but got undefined$/);
    expect(await refusal(() => planModel(unset))).toMatch(/needs an open checkpoint, .* but got undefined$/);
    vi.stubGlobal('document', { baseURI: 'http://localhost/' });
    expect(await refusal(() => loadInPage(unset, { runtimeFiles: '/ort' }))).toMatch(/, but is undefined$/);
    await refuse({ loadModel: (options) => loadInPage({ hub: 'a/b' }, options) }, [...WRONG, [undefined, 'undefined']]);
  });

  it('is no path, and neither is an empty one', async () => {
    const model = await loadModel();
    const checkpoint = await openCheckpoint('keyhold/tiny');
    const conversation = new Conversation(model, { template: '{{ messages }}', cache: model.createCache() });
    const calls: Record<string, (path: string) => unknown> = {
      openCheckpointFolder,
      openAdapterFolder,
      folderStore,
      writeGguf: (path) => writeGguf(checkpoint, path),
      mergeAdapters: (path) => mergeAdapters(checkpoint, [{ path: TINY_ADAPTER }], path),
      saveCache: (path) => saveCache(model, conversation.cache, path),
      loadCache: (path) => loadCache(model, path),
      saveConversation: (path) => saveConversation(model, conversation, path),
      loadConversation: (path) => loadConversation(model, path),
    };
    for (const [name, call] of Object.entries(calls)) {
      expect(await refusal(() => call(unset))).toBe(`${name} needs a path as a string, but got undefined`);
      expect(await refusal(() => call(''))).toBe(`the path given to ${name} is empty`);
    }
    expect(await refusal(() => saveConversation(model, unset, 'talk'))).toMatch(/needs a Conversation/);
    expect(await refusal(() => model.adapters.load(unset, 'a'))).toMatch(/must be a path or an open adapter/);
    await checkpoint.close();
    await model.dispose();
  });
});
