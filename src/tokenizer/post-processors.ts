/**
 * @file Post-processors: the special tokens around a text.
 */
import { show } from '../util/json/show.ts';
import { fail, type Json, list, object } from './fields.ts';

/** The ids of a text with what belongs around them. */
export type PostProcessor = (ids: readonly number[]) => readonly number[];
type IdOf = (token: string) => number | undefined;

/** @throws TokenizerError for a post-processor that is not known. */
export function postProcessor(json: unknown, idOf: IdOf): PostProcessor {
  if (json === null || json === undefined) return (ids) => ids;
  const part = object(json, 'a post-processor');
  switch (part['type']) {
    case 'ByteLevel':
      return (ids) => ids;
    case 'Sequence': {
      const parts = list(part['processors'], '"processors" of a Sequence').map((inner) => postProcessor(inner, idOf));
      return (ids) => parts.reduce((sofar, run) => run(sofar), ids);
    }
    case 'TemplateProcessing':
      return template(part, idOf);
    case 'BertProcessing':
    case 'RobertaProcessing': {
      const [start, end] = [pairId(part, 'cls'), pairId(part, 'sep')];
      return (ids) => [start, ...ids, end];
    }
  }
  return fail(`there is no post-processor ${show(part['type'])}`);
}

/** The ids of two texts with what belongs around them, and which of the two each id counts for. */
export type PairProcessor = (a: readonly number[], b: readonly number[]) => { ids: number[]; types: number[] };

/** What {@link PairProcessor} puts together: ids, or the first or the second text. */
type PairPart = { readonly type: number } & ({ readonly ids: readonly number[] } | { readonly text: 0 | 1 });

const joinPair =
  (parts: readonly PairPart[]): PairProcessor =>
  (...texts) => {
    const pieces = parts.map((part) => ({ ids: 'ids' in part ? part.ids : texts[part.text], type: part.type }));
    return {
      ids: pieces.flatMap(({ ids }) => [...ids]),
      types: pieces.flatMap(({ ids, type }) => ids.map(() => type)),
    };
  };

/** @throws TokenizerError for a post-processor that is not known, or does not say how pairs are put together. */
export function pairProcessor(json: unknown, idOf: IdOf): PairProcessor {
  const plain: readonly PairPart[] = [
    { text: 0, type: 0 },
    { text: 1, type: 1 },
  ];
  if (json === null || json === undefined) return joinPair(plain);
  const part = object(json, 'a post-processor');
  switch (part['type']) {
    case 'ByteLevel':
      return joinPair(plain);
    case 'Sequence': {
      const parts = list(part['processors'], '"processors" of a Sequence');
      const last = parts.findLast((inner) => object(inner, 'a post-processor')['type'] !== 'ByteLevel');
      return pairProcessor(last, idOf);
    }
    case 'TemplateProcessing':
      return joinPair(pairTemplate(part, idOf));
    case 'BertProcessing': {
      const [cls, sep] = [[pairId(part, 'cls')], [pairId(part, 'sep')]];
      const second: readonly PairPart[] = [
        { text: 1, type: 1 },
        { ids: sep, type: 1 },
      ];
      return joinPair([{ ids: cls, type: 0 }, plain[0], { ids: sep, type: 0 }, ...second]);
    }
    case 'RobertaProcessing': {
      const [cls, sep] = [[pairId(part, 'cls')], [pairId(part, 'sep')]];
      const marks = [...sep, ...sep];
      const second: readonly PairPart[] = [
        { text: 1, type: 0 },
        { ids: sep, type: 0 },
      ];
      return joinPair([{ ids: cls, type: 0 }, plain[0], { ids: marks, type: 0 }, ...second]);
    }
  }
  return fail(`there is no post-processor ${show(part['type'])}`);
}

function pairTemplate(part: Json, idOf: IdOf): PairPart[] {
  return list(part['pair'], '"pair" of a TemplateProcessing').map((entry, i): PairPart => {
    const where = `"pair"[${i}]`;
    const { SpecialToken: special, Sequence: sequence } = object(entry, `${where} of a TemplateProcessing`);
    const inner = object(sequence ?? special, where);
    const type = Number(inner['type_id'] ?? 0);
    if (sequence === undefined) return { ids: specialIds(part, inner, idOf), type };
    if (inner['id'] !== 'A' && inner['id'] !== 'B')
      fail(`${where} names the sequence ${show(inner['id'])}; there are A and B`);
    return { text: inner['id'] === 'A' ? 0 : 1, type };
  });
}

/** The id of a token that is given as `[token, id]`. */
function pairId(part: Json, key: string): number {
  const [, id] = list(part[key], `"${key}" of a ${part['type']}`);
  if (typeof id !== 'number')
    fail(`"${key}" of a ${part['type']} must be a token and its id, but is ${show(part[key])}`);
  return id;
}

function template(part: Json, idOf: IdOf): PostProcessor {
  const before: number[] = [];
  const after: number[] = [];
  let sequences = 0;
  list(part['single'], '"single" of a TemplateProcessing').forEach((entry, i) => {
    const { SpecialToken: special, Sequence: sequence } = object(entry, `"single"[${i}] of a TemplateProcessing`);
    if (sequence !== undefined) sequences++;
    else
      (sequences === 0 ? before : after).push(
        ...specialIds(part, object(special, `"single"[${i}].SpecialToken`), idOf),
      );
  });
  if (sequences !== 1) fail(`"single" of a TemplateProcessing must have one Sequence, but has ${sequences}`);
  return (ids) => [...before, ...ids, ...after];
}

function specialIds(part: Json, special: Json, idOf: IdOf): readonly number[] {
  const name = special['id'];
  if (typeof name !== 'string') fail(`the "id" of a SpecialToken must be text, but is ${show(name)}`);
  const table = object(part['special_tokens'] ?? {}, '"special_tokens" of a TemplateProcessing');
  const entry = Object.hasOwn(table, name) ? object(table[name], `"special_tokens" ${show(name)}`) : undefined;
  const ids = entry?.['ids'];
  if (Array.isArray(ids) && ids.every((id) => Number.isSafeInteger(id) && id >= 0)) return ids;
  const id = idOf(name);
  return id === undefined
    ? fail(`there is no token ${show(name)}, which "single" of a TemplateProcessing names`)
    : [id];
}

/** The classes of transformers that make their post-processor of these flags, whatever tokenizer.json says. */
const BY_FLAGS = /^(Llama|CodeLlama|Gemma|Cohere)Tokenizer(Fast)?$/;

/** What goes around a text by tokenizer_config.json; null where tokenizer.json decides. */
export function flaggedPostProcessor(config: Json, bos: number | null, eos: number | null): PostProcessor | null {
  const { tokenizer_class: name, add_bos_token: addBos, add_eos_token: addEos } = config;
  if (!BY_FLAGS.test(String(name)) || (typeof addBos !== 'boolean' && typeof addEos !== 'boolean')) return null;
  const before = addBos !== false && bos !== null ? [bos] : [];
  const after = addEos === true && eos !== null ? [eos] : [];
  return (ids) => [...before, ...ids, ...after];
}
