import { describe, expect, it, vi } from 'vitest';
import { loadConversation, saveConversation } from '../chat/conversation-node.ts';
import { loadCache, saveCache } from '../engine/snapshot-node.ts';
import { mergeAdapters, openAdapterFolder } from '../exports/adapters-node.ts';
import { openCheckpointFolder, planModel, preparedFormats, writeGguf } from '../exports/checkpoint-node.ts';
import { folderStore } from '../exports/server.ts';
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
    for (const open of [openCheckpoint, preparedFormats, loadReranker])
      expect(await refusal(() => open(unset))).toMatch(/^the model must be .*, but is undefined$/);
    expect(await refusal(() => mergeAdapters(unset, [{ path: TINY_ADAPTER }], 'out'))).toMatch(/, but is undefined$/);
    expect(await refusal(() => downloadFromHub(unset))).toMatch(/needs the id of a model, .* but got undefined$/);
    expect(await refusal(() => planModel(unset))).toMatch(/needs an open checkpoint, .* but got undefined$/);
    vi.stubGlobal('document', { baseURI: 'http://localhost/' });
    expect(await refusal(() => loadInPage(unset, { runtimeFiles: '/ort' }))).toMatch(/, but is undefined$/);
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
