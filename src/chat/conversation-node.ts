/**
 * @file Saved conversations: a file with the messages, and beside it one with the cache.
 */
import { access, readFile } from 'node:fs/promises';
import * as v from 'valibot';
import type { ChatMessage } from '../engine/messages.ts';
import { loadCache, saveCache } from '../engine/snapshot-node.ts';
import { checkTextModel, type TextCache, type TextModel } from '../engine/text-model.ts';
import type { PolicyChoice, PolicyEntry } from '../kvcache/policy/policy.ts';
import { checkPath } from '../util/arguments.ts';
import { InputError, SnapshotError } from '../util/errors.ts';
import { isFolder, writeWhole } from '../util/files/files-node.ts';
import { isObject } from '../util/json/is-object.ts';
import { shown } from '../util/option-names.ts';
import { Conversation, type ConversationOptions } from './conversation.ts';

const VERSION = 1;
const id = v.pipe(v.number(), v.integer(), v.minValue(0));
/** Its content may be any that templates take: a text, parts, or nothing beside calls of tools. */
const Message = v.custom<ChatMessage>((value) => isObject(value) && typeof value['role'] === 'string');
const Saved = v.object({
  keyhold: v.literal('conversation'),
  version: v.literal(VERSION),
  messages: v.array(Message),
  text: v.string(),
  ids: v.array(id),
});

/** Where the cache of a saved conversation is. */
const cacheFileOf = (path: string): string => `${path}.cache`;

/**
 * Saves a conversation: its messages as JSON, and its cache in a file of that name with `.cache` behind it.
 * @throws SnapshotError where they can't be written; InputError for what is no path or no conversation.
 */
export async function saveConversation<C extends TextCache>(
  model: TextModel<C>,
  conversation: Conversation<C>,
  path: string,
): Promise<void> {
  checkPath('saveConversation', path);
  if (typeof conversation?.state !== 'object')
    throw new InputError(`saveConversation needs a Conversation, but got ${shown(conversation)}`);
  // Before the cache is written, which would stay without its conversation.
  if (await isFolder(path)) throw new SnapshotError(`${path} is a folder: name a file`);
  await saveCache(model, conversation.cache, cacheFileOf(path));
  const content = { keyhold: 'conversation', version: VERSION, ...conversation.state };
  try {
    await writeWhole(path, `${JSON.stringify(content)}\n`);
  } catch (cause) {
    throw new SnapshotError(`${path}: the conversation can't be saved: ${(cause as Error).message}`, { cause });
  }
}

async function readSaved(path: string): Promise<v.InferOutput<typeof Saved>> {
  try {
    return v.parse(Saved, JSON.parse(await readFile(path, 'utf8')));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT')
      throw new SnapshotError(`${path}: does not exist; name the file of a saved conversation`, { cause });
    throw new SnapshotError(`${path}: this is not a saved conversation: ${(cause as Error).message}`, { cause });
  }
}

/**
 * Checks what can be known of a saved conversation without its model, before one is loaded.
 * @throws SnapshotError where a file of it is missing, or the messages are damaged.
 */
export async function checkSavedConversation(path: string): Promise<void> {
  await readSaved(path);
  try {
    await access(cacheFileOf(path));
  } catch (cause) {
    throw new SnapshotError(`${cacheFileOf(path)}: ${(cause as Error).message}`, { cause });
  }
}

/**
 * A conversation that {@link saveConversation} saved. It goes on with its cache; what that has not seen is computed
 * with the next turn.
 * @param options as when it began, without the cache.
 * @param policy for a cache whose policy is not in the table.
 * @throws SnapshotError for files that are missing, damaged, or of another model; InputError for what is no path.
 */
export async function loadConversation<C extends TextCache>(
  model: TextModel<C>,
  path: string,
  options: Omit<ConversationOptions<C>, 'cache'> = {},
  policy?: PolicyEntry | PolicyChoice,
): Promise<Conversation<C>> {
  checkTextModel('loadConversation', model);
  checkPath('loadConversation', path);
  const state = await readSaved(path);
  const cache = await loadCache(model, cacheFileOf(path), policy);
  return new Conversation<C>(model, { ...options, cache }, state);
}
