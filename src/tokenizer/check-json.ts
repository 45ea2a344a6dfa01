/**
 * @file What must hold of tokenizer.json and tokenizer_config.json before anything is built from them.
 */
import { TokenizerError } from '../util/errors.ts';
import { show } from '../util/json/show.ts';
import { fail, type Json, object } from './fields.ts';
import type { ReadVocabulary, TokenIds } from './token-model.ts';

/** Ids from here on are damage: the largest vocabularies have about a million tokens. */
const MAX_ID = 2 ** 24;

const MODELS = ['BPE', 'Unigram', 'WordPiece', 'WordLevel'];

/** What tokenizer.json says of its tokens. */
export interface TokenTable {
  /** The highest id there is, added tokens included. */
  readonly maxId: number;
  /** The highest id of the model's own vocabulary. */
  readonly maxOwnId: number;
  /** Texts of the added tokens that are marked as special. */
  readonly special: readonly string[];
  /** Of the model's own vocabulary. */
  readonly idOf: TokenIds;
  readonly tokenOf: OwnTokens['tokenOf'];
  /** The added tokens as they stand in the file. */
  readonly added: readonly Json[];
}

/** The model's own vocabulary. */
interface OwnTokens {
  readonly idOf: TokenIds;
  readonly tokenOf: (id: number) => string | undefined;
  readonly maxId: number;
}

/**
 * Checks the model's vocabulary, merges and added tokens.
 * @throws TokenizerError
 */
export function checkTokenizerJson(json: Json): TokenTable {
  const model = object(json['model'], '"model"');
  const { type } = model;
  if (type !== undefined && !MODELS.some((known) => known === type))
    fail(`model.type must be one of ${MODELS.join(', ')}, but is ${show(type)}`);
  const tokens = readVocab(model);
  checkMerges(model);
  return readAdded(json['added_tokens'] ?? [], tokens);
}

/**
 * The text of a token that tokenizer_config.json names, either as it is or as an object with `content`.
 * @throws TokenizerError
 */
export function tokenText(value: unknown, key: string): string | null {
  if (value === undefined || value === null) return null;
  const text = typeof value === 'object' ? (value as Json)['content'] : value;
  if (typeof text === 'string') return text;
  throw new TokenizerError(
    `tokenizer_config.json: ${key} must be a string, or an object with "content", but is ${show(value)}`,
  );
}

/**
 * The texts of `additional_special_tokens`.
 * @throws TokenizerError
 */
export function tokenTexts(value: unknown, key: string): string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value))
    throw new TokenizerError(`tokenizer_config.json: ${key} must be a list, but is ${show(value)}`);
  return value.map((item, i) => tokenText(item, `${key}[${i}]`)).filter((text) => text !== null);
}

/** The model's own tokens; where two of them share an id, it is an error. */
function readVocab(model: Json): OwnTokens {
  const vocab = model['vocab'];
  if (isRead(vocab)) return { idOf: vocab, tokenOf: (id) => vocab.tokenOf(id), maxId: vocab.maxId };
  const tokens: (string | undefined)[] = [];
  // A Map where the file was no JSON: an object of 50,000 keys takes ten times as long to make.
  const idOf = vocab instanceof Map ? (vocab as Map<string, number>) : new Map<string, number>();
  if (Array.isArray(vocab)) {
    vocab.forEach((entry: unknown, id) => {
      if (!Array.isArray(entry) || typeof entry[0] !== 'string' || typeof entry[1] !== 'number')
        fail(`model.vocab[${id}] must be a token and its score, but is ${show(entry)}`);
      idOf.set(entry[0], id);
    });
    const unknown = model['unk_id'] ?? null;
    if (unknown !== null && !(isId(unknown) && unknown < vocab.length))
      fail(`model.unk_id must be one of the ${vocab.length} tokens, but is ${show(unknown)}`);
  } else if (idOf !== vocab) {
    const named = object(vocab, 'model.vocab');
    for (const token of Object.keys(named)) idOf.set(token, named[token] as number);
  }
  for (const [token, id] of idOf) {
    if (!isId(id)) fail(`model.vocab gives ${show(token)} the id ${show(id)}, which is not a whole number from 0 on`);
    const other = tokens[id];
    if (other !== undefined) fail(`model.vocab gives ${show(other)} and ${show(token)} the same id ${id}`);
    tokens[id] = token;
  }
  if (idOf.size === 0) fail('model.vocab is empty');
  return { idOf, tokenOf: (id) => tokens[id], maxId: tokens.length - 1 };
}

/** Whether it was no JSON, which holds no functions. */
const isRead = (vocab: unknown): vocab is ReadVocabulary =>
  typeof vocab === 'object' && vocab !== null && typeof (vocab as Partial<ReadVocabulary>).tokenOf === 'function';

function checkMerges(model: Json): void {
  const merges = model['merges'];
  if (merges === undefined && model['type'] !== 'BPE') return;
  if (typeof merges === 'object' && merges !== null && 'ids' in merges) return;
  if (!Array.isArray(merges)) fail(`model.merges must be a list, but is ${show(merges)}`);
  const pairs = Array.isArray(merges[0]);
  for (let i = 0; i < merges.length; i++) {
    const merge: unknown = merges[i];
    if (!(pairs ? isPair(merge) : typeof merge === 'string' && isPairText(merge)))
      fail(`model.merges[${i}] must be two tokens (written as the first merge is), but is ${show(merge)}`);
  }
}

/** Whether a text has one space, which is between others. */
function isPairText(merge: string): boolean {
  const at = merge.indexOf(' ');
  return at > 0 && at < merge.length - 1 && !merge.includes(' ', at + 1);
}

function isPair(parts: unknown): parts is readonly [string, string] {
  if (!Array.isArray(parts) || parts.length !== 2) return false;
  const left: unknown = parts[0];
  const right: unknown = parts[1];
  return typeof left === 'string' && typeof right === 'string' && left !== '' && right !== '';
}

function readAdded(added: unknown, { idOf, tokenOf, maxId: maxOwnId }: OwnTokens): TokenTable {
  if (!Array.isArray(added)) fail(`added_tokens must be a list, but is ${show(added)}`);
  let maxId = maxOwnId;
  const special: string[] = [];
  const owners = new Map<number, string>();
  added.forEach((value: unknown, i) => {
    const { id, content, special: isSpecial } = object(value, `added_tokens[${i}]`);
    if (!isId(id)) fail(`added_tokens[${i}] has the id ${show(id)}, which is not a whole number from 0 on`);
    if (typeof content !== 'string' || content === '')
      fail(`added_tokens[${i}].content must be text, but is ${show(content)}`);
    const other = owners.get(id) ?? content;
    if (other !== content) fail(`added_tokens gives ${show(other)} and ${show(content)} the same id ${id}`);
    owners.set(id, content);
    maxId = Math.max(maxId, id);
    if (isSpecial === true) special.push(content);
  });
  return { maxId, maxOwnId, special, idOf, tokenOf, added: added as readonly Json[] };
}

/** Calls `visit` for a part of the pipeline and, where it is a sequence, for each of its parts. */
export function eachPart(part: unknown, list: string, visit: (part: Json) => void): void {
  if (typeof part !== 'object' || part === null) return;
  const parts = (part as Json)[list];
  if ((part as Json)['type'] === 'Sequence' && Array.isArray(parts))
    for (const inner of parts) eachPart(inner, list, visit);
  else visit(part as Json);
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value < MAX_ID;
}
