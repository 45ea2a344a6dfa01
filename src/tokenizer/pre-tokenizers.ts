/**
 * @file Pre-tokenizers: how a text is cut before the model sees it.
 */
import { show } from '../util/json/show.ts';
import { toByteChars } from './bytes.ts';
import { count, fail, flag, type Json, list, object, text } from './fields.ts';
import {
  BEHAVIORS,
  type Behavior,
  charFinder,
  type Finder,
  finder,
  plainFinder,
  regexFinder,
  splitSpans,
} from './pattern.ts';

/** A piece of a text, and whether it is the text's beginning. */
export interface Piece {
  readonly text: string;
  readonly isFirst: boolean;
}

export type PreTokenizer = (piece: Piece) => readonly Piece[];

const GPT2_WORDS = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
const PUNCTUATION = /[\p{P}!-/:-@[-`{-~]/u;
const NUMERIC = /\p{N}/u;
const SPACE = /\p{White_Space}/u;

const splitter =
  (find: Finder, behavior: Behavior, invert = false): PreTokenizer =>
  (piece) =>
    splitSpans(piece.text, find, behavior, invert).map(([start, end]) => ({
      text: piece.text.slice(start, end),
      isFirst: piece.isFirst && start === 0,
    }));

const inTurn = (parts: readonly PreTokenizer[]): PreTokenizer => {
  return (piece) => parts.reduce((pieces: readonly Piece[], run) => pieces.flatMap(run), [piece]);
};

function behaviorOf(part: Json, fallback?: Behavior): Behavior {
  const stated = part['behavior'] ?? fallback;
  const plain = typeof stated === 'string' ? stated.replaceAll('_', '').toLowerCase() : null;
  const behavior = BEHAVIORS.find((known) => known.toLowerCase() === plain);
  return (
    behavior ??
    fail(`the "behavior" of a ${show(part['type'])} must be one of ${BEHAVIORS.join(', ')}, but is ${show(stated)}`)
  );
}

const BUILD: Readonly<Record<string, (part: Json) => PreTokenizer>> = {
  Sequence: (part) => inTurn(list(part['pretokenizers'], '"pretokenizers" of a Sequence').map(preTokenizer)),
  Split: (part) => splitter(finder(part), behaviorOf(part), flag(part, 'invert', false)),
  ByteLevel: byteLevel,
  Metaspace: metaspace,
  Punctuation: (part) => splitter(charFinder(PUNCTUATION), behaviorOf(part, 'Isolated')),
  Digits: (part) => splitter(charFinder(NUMERIC), flag(part, 'individual_digits', false) ? 'Isolated' : 'Contiguous'),
  Whitespace: () => splitter(regexFinder('\\w+|[^\\w\\s]+'), 'Removed', true),
  WhitespaceSplit: () => splitter(charFinder(SPACE), 'Removed'),
  BertPreTokenizer: () =>
    inTurn([splitter(charFinder(SPACE), 'Removed'), splitter(charFinder(PUNCTUATION), 'Isolated')]),
  CharDelimiterSplit: (part) => splitter(plainFinder(text(part, 'delimiter')), 'Removed'),
  FixedLength: fixedLength,
};

/** @throws TokenizerError for a pre-tokenizer that is not known. */
export function preTokenizer(json: unknown): PreTokenizer {
  if (json === null || json === undefined) return (piece) => [piece];
  const part = object(json, 'a pre-tokenizer');
  const { type } = part;
  if (typeof type !== 'string' || !Object.hasOwn(BUILD, type)) fail(`there is no pre-tokenizer ${show(type)}`);
  return BUILD[type](part);
}

function byteLevel(part: Json): PreTokenizer {
  const prefixSpace = flag(part, 'add_prefix_space', true);
  const words = flag(part, 'use_regex', true) ? splitter(regexFinder(GPT2_WORDS), 'Isolated') : null;
  return (piece) => {
    const spaced = prefixSpace && !piece.text.startsWith(' ') ? { ...piece, text: ` ${piece.text}` } : piece;
    const pieces = words ? words(spaced) : [spaced];
    return pieces.map(({ text: word, isFirst }) => ({ text: toByteChars(word), isFirst }));
  };
}

function metaspace(part: Json): PreTokenizer {
  const mark = text(part, 'replacement', '▁');
  // The old form says by a flag that nothing is put before the text.
  const scheme = part['add_prefix_space'] === false ? 'never' : text(part, 'prepend_scheme', 'always');
  if (!['always', 'first', 'never'].includes(scheme))
    fail(`"prepend_scheme" of a Metaspace must be always, first or never, but is ${show(scheme)}`);
  const words = flag(part, 'split', true) ? splitter(plainFinder(mark), 'MergedWithNext') : null;
  return (piece) => {
    const marked = piece.text.replaceAll(' ', () => mark);
    const prepends = (scheme === 'always' || (scheme === 'first' && piece.isFirst)) && !marked.startsWith(mark);
    const whole = { text: prepends ? mark + marked : marked, isFirst: piece.isFirst };
    return words ? words(whole) : [whole];
  };
}

function fixedLength(part: Json): PreTokenizer {
  const length = count(part, 'length', 5);
  if (length < 1)
    fail(`a FixedLength pre-tokenizer needs a whole "length" of at least 1, but has ${show(part['length'])}`);
  return (piece) => {
    const chars = Array.from(piece.text);
    const pieces: Piece[] = [];
    for (let at = 0; at < chars.length; at += length)
      pieces.push({ text: chars.slice(at, at + length).join(''), isFirst: piece.isFirst && at === 0 });
    return pieces;
  };
}
