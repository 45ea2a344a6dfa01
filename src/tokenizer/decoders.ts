/**
 * @file Decoders: tokens as text. Each part takes a list of texts and gives another; the texts that are left are
 * joined.
 */
import { show } from '../util/json/show.ts';
import { byteOfToken, bytesOfToken } from './bytes.ts';
import { count, fail, flag, type Json, list, object, text } from './fields.ts';
import { finder, replaceAll } from './pattern.ts';

export type Decoder = (tokens: readonly string[]) => readonly string[];

const BUILD: Readonly<Record<string, (part: Json) => Decoder>> = {
  Sequence: (part) => {
    const parts = list(part['decoders'], '"decoders" of a Sequence').map((inner) => decoder(inner));
    return (tokens) => parts.reduce((sofar, run) => run(sofar), tokens);
  },
  ByteLevel: () => byteLevel,
  ByteFallback: () => byteFallback,
  Fuse: () => (tokens) => [tokens.join('')],
  Replace: (part) => {
    const [find, content] = [finder(part), text(part, 'content')];
    return (tokens) => tokens.map((token) => replaceAll(token, find, content));
  },
  Strip: strip,
  Metaspace: metaspace,
  WordPiece: wordPiece,
  BPEDecoder: (part) => {
    const suffix = text(part, 'suffix', '</w>');
    return (tokens) => tokens.map((token, i) => token.replaceAll(suffix, i === tokens.length - 1 ? '' : ' '));
  },
  CTC: ctc,
};

function byteLevel(tokens: readonly string[]): string[] {
  const bytes: number[] = [];
  for (const token of tokens) for (const byte of bytesOfToken(token)) bytes.push(byte);
  return [decodeBytes(bytes)];
}

/** @throws TokenizerError for a decoder that is not known. */
export function decoder(json: unknown): Decoder {
  if (json === null || json === undefined) return (tokens) => [tokens.join(' ')];
  const part = object(json, 'a decoder');
  const { type } = part;
  if (typeof type !== 'string' || !Object.hasOwn(BUILD, type)) fail(`there is no decoder ${show(type)}`);
  return BUILD[type](part);
}

/** Bytes that are no UTF-8 become U+FFFD by the rules of the web. U+FEFF at the start is text. */
function decodeBytes(bytes: readonly number[]): string {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes));
}

const byteFallback: Decoder = (tokens) => {
  const out: string[] = [];
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length > 0) out.push(decodeBytes(bytes));
    bytes = [];
  };
  for (const token of tokens) {
    const byte = byteOfToken(token);
    if (byte !== undefined) bytes.push(byte);
    else {
      flush();
      out.push(token);
    }
  }
  flush();
  return out;
};

function strip(part: Json): Decoder {
  const content = text(part, 'content', ' ');
  const [atStart, atEnd] = [count(part, 'start', 0), count(part, 'stop', 0)];
  return (tokens) =>
    tokens.map((token) => {
      const chars = Array.from(token);
      let start = 0;
      while (start < atStart && chars[start] === content) start++;
      let end = chars.length;
      while (chars.length - end < atEnd && end > start && chars[end - 1] === content) end--;
      return chars.slice(start, end).join('');
    });
}

/** The first token loses the marks that were put before it. */
function metaspace(part: Json): Decoder {
  const mark = text(part, 'replacement', '▁');
  const isBare = part['prepend_scheme'] === 'never' || part['add_prefix_space'] === false;
  return (tokens) => tokens.map((token, i) => token.replaceAll(mark, i === 0 && !isBare ? '' : ' '));
}

const CLEAN_UPS: readonly (readonly [string, string])[] = [
  [' .', '.'],
  [' ?', '?'],
  [' !', '!'],
  [' ,', ','],
  [" ' ", "'"],
  [" n't", "n't"],
  [" 'm", "'m"],
  [' do not', " don't"],
  [" 's", "'s"],
  [" 've", "'ve"],
  [" 're", "'re"],
];
const cleanUp = (token: string): string => CLEAN_UPS.reduce((sofar, [from, to]) => sofar.replaceAll(from, to), token);

function wordPiece(part: Json): Decoder {
  const prefix = text(part, 'prefix', '##');
  const cleans = flag(part, 'cleanup', true);
  return (tokens) =>
    tokens.map((token, i) => {
      const word = i === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
      return cleans ? cleanUp(word) : word;
    });
}

function ctc(part: Json): Decoder {
  const [pad, delimiter] = [text(part, 'pad_token', '<pad>'), text(part, 'word_delimiter_token', '|')];
  const cleans = flag(part, 'cleanup', true);
  return (tokens) =>
    tokens
      .filter((token, i) => token !== tokens[i - 1])
      .map((token) => {
        const plain = token.replaceAll(pad, '');
        return cleans ? cleanUp(plain).replaceAll(delimiter, ' ') : plain;
      })
      .filter((token) => token !== '');
}
