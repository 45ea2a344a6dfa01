/**
 * @file Which decoders of tokenizer.json can give their text piece by piece.
 */
import { eachPart } from './check-json.ts';

/**
 * Whether the text of a list of ids begins with the text of every shorter one (but for half a character at its end),
 * and what a token adds depends only on a few tokens before it. So it is with the decoders of language models: byte
 * level; replace, byte fallback, fuse, strip; metaspace; word pieces. It is not where a decoder looks at text that was
 * joined already, or drops repeated tokens.
 */
export function decodesInPieces(tokenizerJson: Readonly<Record<string, unknown>>): boolean {
  const model = tokenizerJson['model'] as Readonly<Record<string, unknown>>;
  // Such a suffix is searched for in the joined text.
  if (model['end_of_word_suffix']) return false;
  let joined = false;
  let fine = true;
  eachPart(tokenizerJson['decoder'], 'decoders', (part) => {
    switch (part['type']) {
      case 'ByteLevel':
      case 'Fuse':
        joined = true;
        break;
      case 'Strip':
        break;
      case 'Replace':
      case 'ByteFallback':
      case 'Metaspace':
      case 'WordPiece':
        fine &&= !joined;
        break;
      default:
        fine = false;
    }
  });
  return fine;
}
