/**
 * @file Pieces of a tokenizer.json that several kinds of tokenizers share.
 */
import { type GgufVocabulary, type Json, TOKEN_TYPE } from './types.ts';

/** The type of a token; normal where the file has no list. */
export const typeOf = ({ types }: GgufVocabulary, id: number): number => types?.[id] ?? TOKEN_TYPE.normal;

/** Token → id, without tokens for which `leave` holds. The first of two tokens of the same text counts. */
export function vocabOf({ tokens }: GgufVocabulary, leave: (id: number) => boolean): VocabularyMap {
  const vocab = new VocabularyMap();
  tokens.forEach((token, id) => {
    if (!leave(id) && !vocab.has(token)) vocab.set(token, id);
  });
  return vocab;
}

/** A vocabulary that is written as an object in JSON. */
class VocabularyMap extends Map<string, number> {
  toJSON(): Record<string, number> {
    return Object.fromEntries(this);
  }
}

/** An entry of added_tokens: found in a text as it is, before anything else looks at it. */
const addedToken = (id: number, content: string, special: boolean): Json => ({
  id,
  content,
  special,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
});

/** Control tokens are special; tokens that users define are not. */
export function addedTokens(vocabulary: GgufVocabulary, isText: (token: string) => boolean = () => false): Json[] {
  const added: Json[] = [];
  const { lengths } = vocabulary.packedTokens;
  for (let id = 0; id < lengths.length; id++) {
    const type = typeOf(vocabulary, id);
    const special = type === TOKEN_TYPE.control || type === TOKEN_TYPE.unknown;
    if (lengths[id] === 0 || !(special || type === TOKEN_TYPE.userDefined)) continue;
    const token = vocabulary.textOf(id);
    if (special || !isText(token)) added.push(addedToken(id, token, special));
  }
  return added;
}

/** What is put around a text: tokens before it and behind it. Null where there are none. */
export function template(vocabulary: GgufVocabulary, before: readonly string[], after: readonly string[]): Json | null {
  const { textOf, ids } = vocabulary;
  const mark = (name: string) => (name in ids ? [{ id: textOf(ids[name]), type_id: 0 }] : []);
  const [first, last] = [before.flatMap(mark), after.flatMap(mark)];
  if (first.length + last.length === 0) return null;
  const special = (parts: { id: string; type_id: number }[]) => parts.map((part) => ({ SpecialToken: part }));
  const around = (name: string, type: number) => [
    ...special(first.map((part) => ({ ...part, type_id: type }))),
    { Sequence: { id: name, type_id: type } },
    ...special(last.map((part) => ({ ...part, type_id: type }))),
  ];
  const used = [...before, ...after].filter((name) => name in ids);
  return {
    type: 'TemplateProcessing',
    single: around('A', 0),
    pair: [...around('A', 0), ...around('B', 1)],
    special_tokens: Object.fromEntries(
      used.map((name) => {
        const token = textOf(ids[name]);
        return [token, { id: token, ids: [ids[name]], tokens: [token] }];
      }),
    ),
  };
}

export const sequence = (key: string, parts: readonly Json[]): Json =>
  parts.length === 1 ? parts[0] : { type: 'Sequence', [key]: parts };
