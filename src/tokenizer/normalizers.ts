/**
 * @file Normalizers: what becomes of a text before it is split.
 */
import { show } from '../util/json/show.ts';
import { toByteChars } from './bytes.ts';
import { fail, flag, type Json, list, object, text } from './fields.ts';
import { finder, replaceAll } from './pattern.ts';
import { precompiled } from './precompiled.ts';

export type Normalizer = (text: string) => string;

/** Character by character: the platform's own takes the end of a word into account, for Σ. */
const lowercase: Normalizer = (value) => Array.from(value, (char) => char.toLowerCase()).join('');

const BUILD: Readonly<Record<string, (part: Json) => Normalizer>> = {
  Sequence: (part) => {
    const parts = list(part['normalizers'], '"normalizers" of a Sequence').map((inner) => normalizer(inner));
    return (value) => parts.reduce((sofar, run) => run(sofar), value);
  },
  NFC: () => (value) => value.normalize('NFC'),
  NFD: () => (value) => value.normalize('NFD'),
  NFKC: () => (value) => value.normalize('NFKC'),
  NFKD: () => (value) => value.normalize('NFKD'),
  Lowercase: () => lowercase,
  StripAccents: () => (value) => value.replace(/\p{M}/gu, ''),
  Strip: (part) => {
    const [left, right] = [flag(part, 'strip_left', true), flag(part, 'strip_right', true)];
    return (value) => stripSpaces(value, left, right);
  },
  Prepend: (part) => {
    const prefix = text(part, 'prepend');
    return (value) => (value === '' ? value : prefix + value);
  },
  Replace: (part) => {
    const [find, content] = [finder(part), text(part, 'content')];
    return (value) => replaceAll(value, find, content);
  },
  ByteLevel: () => toByteChars,
  Nmt: () => nmt,
  Precompiled: (part) => precompiled(text(part, 'precompiled_charsmap')),
  BertNormalizer: bert,
};

/** @throws TokenizerError for a normalizer that is not known. */
export function normalizer(json: unknown): Normalizer {
  if (json === null || json === undefined) return (value) => value;
  const part = object(json, 'a normalizer');
  const { type } = part;
  if (typeof type !== 'string' || !Object.hasOwn(BUILD, type)) fail(`there is no normalizer ${show(type)}`);
  return BUILD[type](part);
}

const SPACE = /\p{White_Space}/u;

function stripSpaces(value: string, left: boolean, right: boolean): string {
  let [start, end] = [0, value.length];
  if (left) while (start < end && SPACE.test(value[start])) start++;
  if (right) while (end > start && SPACE.test(value[end - 1])) end--;
  return value.slice(start, end);
}

const nmt: Normalizer = (value) =>
  value
    .replace(/[\x01-\x08\x0b\x0e-\x1f\x7f\x8f\x9f]/g, '')
    .replace(/[\t\n\f\r\u1680\u200b-\u200f\u2028\u2029\u2581\ufeff\ufffd]/g, ' ');

const CHINESE =
  /[\u4e00-\u9fff\u3400-\u4dbf\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b920}-\u{2ceaf}\uf900-\ufaff\u{2f800}-\u{2fa1f}]/gu;

function bert(part: Json): Normalizer {
  const lower = flag(part, 'lowercase', true);
  const clean = flag(part, 'clean_text', true);
  const chinese = flag(part, 'handle_chinese_chars', true);
  const accents = flag(part, 'strip_accents', lower);
  return (value) => {
    let out = value;
    if (clean) out = out.replace(/[\0\ufffd]|(?![\t\n\r])\p{C}/gu, '').replace(/\p{White_Space}/gu, ' ');
    if (chinese) out = out.replace(CHINESE, ' $& ');
    if (accents) out = out.normalize('NFD').replace(/\p{Mn}/gu, '');
    return lower ? lowercase(out) : out;
  };
}
