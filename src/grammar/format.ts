/**
 * @file The forms that a text may be asked to have, and their grammars.
 */
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { FormatError } from '../util/errors.ts';
import { checkOptionNames, type OptionNames } from '../util/option-names.ts';
import { choiceOf, NodeIds, repeatOf } from './composed.ts';
import { type Item, Machine } from './machine.ts';
import { Masks } from './masks.ts';
import { SchemaDocument } from './schema/document.ts';
import type { JsonObject } from './schema/form.ts';
import { Forms } from './schema/forms.ts';
import { goalOf, Keywords } from './schema/keywords.ts';
import type { Separators } from './schema/node-types.ts';
import { Nodes } from './schema/nodes.ts';
import { ALL_CODES, JsonCharacters, PlainCharacters } from './terms/characters.ts';
import { wholeTerm } from './terms/pattern.ts';
import { type SpecialTokens, specialBytes, textTerm, withoutTerm } from './terms/special.ts';
import { Terms } from './terms/terms.ts';
import { TokenTrie } from './token-trie.ts';

/** White space between the parts of a JSON text. */
export type JsonWhitespace = 'compact' | 'flexible';

/**
 * What a generated text must be. It is plain JSON. Tokens that lead to anything else are never chosen, and the text
 * ends when it is complete. A text that is cut off before (`finishReason` is not `eos`) is the beginning of such a
 * text.
 */
export type TextFormat =
  | {
      /** Any JSON value. */
      readonly type: 'json';
      /**
       * `compact`: at most one space after a comma or a colon. `flexible`: up to 8 spaces, tabs and line ends wherever
       * JSON allows them.
       * @default 'compact'
       */
      readonly whitespace?: JsonWhitespace;
    }
  | {
      /** A JSON value that satisfies a JSON schema. Properties come in the order of the schema, others after them. */
      readonly type: 'json_schema';
      readonly schema: JsonSchema;
      readonly whitespace?: JsonWhitespace;
    }
  | {
      /** A text that a regular expression (ECMA-262, flag u) matches as a whole. */
      readonly type: 'regex';
      readonly pattern: string;
    }
  | {
      /** Exactly this text. Special tokens in it are written as tokens, such as `[TOOL_CALLS]`. */
      readonly type: 'text';
      readonly text: string;
    }
  | {
      /** Any text in which this one does not occur. */
      readonly type: 'without';
      readonly text: string;
    }
  | {
      /** All of these, one after the other. */
      readonly type: 'sequence';
      readonly parts: readonly TextFormat[];
    }
  | {
      /** One of these. */
      readonly type: 'choice';
      readonly of: readonly TextFormat[];
    }
  | {
      /** This one again and again. */
      readonly type: 'repeat';
      readonly part: TextFormat;
      /** Between two of them. */
      readonly separator?: TextFormat;
      /** @default 0 */
      readonly min?: number;
      /** @default any number */
      readonly max?: number;
    };

/** A JSON schema: an object, `true` or `false`. */
export type JsonSchema = boolean | { readonly [key: string]: unknown };

/** Characters of white space in a row, where it is flexible. Models that may write more often never stop. */
const MAX_SPACES = 8;
const MAX_SOURCE = 2_000_000;
const MAX_GRAMMARS = 32;

/** A compiled format for one vocabulary. It has no state of a sequence: one serves any number of them. */
export interface Grammar {
  readonly machine: Machine;
  readonly masks: Masks;
  readonly trie: TokenTrie;
}

/** Compiled grammars of a tokenizer, by their source; the last one that was used is the last to go. */
interface Compiled {
  readonly trie: TokenTrie;
  readonly specials: SpecialTokens;
  readonly grammars: Map<string, Grammar>;
}

const COMPILED = new WeakMap<Tokenizer, Compiled>();

/**
 * Compiles a format, or finds it among those that were compiled before.
 * @throws FormatError for what can't be enforced; InputError for options that there are not.
 */
export function grammarOf(format: TextFormat, tokenizer: Tokenizer): Grammar {
  const source = checkFormat(format);
  let compiled = COMPILED.get(tokenizer);
  if (!compiled) {
    const specials = specialsOf(tokenizer);
    compiled = { trie: trieOf(tokenizer, specials), specials, grammars: new Map() };
    COMPILED.set(tokenizer, compiled);
  }
  const { trie, grammars } = compiled;
  const known = grammars.get(source);
  grammars.delete(source);
  const grammar = known ?? makeGrammar(format, trie, compiled.specials);
  if (grammars.size >= MAX_GRAMMARS) grammars.delete(grammars.keys().next().value!);
  grammars.set(source, grammar);
  return grammar;
}

/** A grammar of its own. @throws FormatError */
export function makeGrammar(format: TextFormat, trie: TokenTrie, specials?: SpecialTokens): Grammar {
  const machine = compileFormat(format, specials);
  return { machine, trie, masks: new Masks(machine, trie) };
}

/** The automaton of a format. @throws FormatError */
export function compileFormat(format: TextFormat, specials: SpecialTokens = new Map()): Machine {
  const terms = new Terms();
  return new Machine(terms, new Compiler(terms, specials).item(format));
}

/** Makes items of formats, which share their terms. */
class Compiler {
  readonly #terms: Terms;
  readonly #specials: SpecialTokens;
  readonly #ids = new NodeIds();
  readonly #plain: PlainCharacters;
  #keywords: Keywords | null = null;

  constructor(terms: Terms, specials: SpecialTokens) {
    this.#terms = terms;
    this.#specials = specials;
    this.#plain = new PlainCharacters(terms);
  }

  item(format: TextFormat): Item {
    switch (format.type) {
      case 'regex': {
        const term = this.#terms.prune(wholeTerm(format.pattern, this.#plain));
        if (term.kind === 'none') throw new FormatError('no text matches format.pattern');
        return term;
      }
      case 'text':
        return textTerm(this.#terms, format.text, this.#specials);
      case 'without':
        return withoutTerm(this.#terms, format.text, this.#plain.of(ALL_CODES), this.#specials);
      case 'sequence':
        return choiceOf(this.#ids, [format.parts.map((part) => this.item(part))]);
      case 'choice':
        return choiceOf(
          this.#ids,
          format.of.map((one) => [this.item(one)]),
        );
      case 'repeat': {
        const { min = 0, max = Number.POSITIVE_INFINITY } = format;
        const separator = format.separator ? this.item(format.separator) : null;
        return repeatOf(this.#ids, this.item(format.part), separator, min, max);
      }
    }
    // A copy: the caller may change the schema, and identity tells its parts apart.
    const schema = (format.type === 'json' ? true : JSON.parse(JSON.stringify(format.schema))) as JsonObject | boolean;
    this.#keywords ??= new Keywords(new JsonCharacters(this.#terms));
    const forms = new Forms(new SchemaDocument(schema), this.#keywords);
    const separators = separatorsOf(this.#terms, format.whitespace);
    return new Nodes(forms, separators, this.#ids).root(goalOf(schema, ''));
  }
}

function separatorsOf(terms: Terms, whitespace: JsonWhitespace = 'compact'): Separators {
  const space = terms.text(' ');
  if (whitespace === 'compact') {
    const after = terms.optional(space);
    return {
      comma: terms.concat(terms.text(','), after),
      colon: terms.concat(terms.text(':'), after),
      inside: terms.empty,
    };
  }
  const any = terms.repeat(terms.or(space, terms.text('\t'), terms.text('\n'), terms.text('\r')), 0, MAX_SPACES);
  return {
    comma: terms.concat(any, terms.text(','), any),
    colon: terms.concat(any, terms.text(':'), any),
    inside: any,
  };
}

/** Names of the fields of each type. */
const FIELDS: { readonly [T in TextFormat['type']]: OptionNames<Extract<TextFormat, { readonly type: T }>> } = {
  json: { type: true, whitespace: true },
  json_schema: { type: true, schema: true, whitespace: true },
  regex: { type: true, pattern: true },
  text: { type: true, text: true },
  without: { type: true, text: true },
  sequence: { type: true, parts: true },
  choice: { type: true, of: true },
  repeat: { type: true, part: true, separator: true, min: true, max: true },
};
const RENAMED = { json_schema: 'schema', regex: 'pattern' };
const MAX_NESTING = 32;

/** @throws InputError, FormatError for what is no format. */
function checkParts(format: TextFormat, path: string, depth: number): void {
  if (typeof format !== 'object' || format === null)
    throw new FormatError(`${path} must be an object such as { type: 'json' }`);
  if (!Object.hasOwn(FIELDS, format.type))
    throw new FormatError(
      `${path}.type must be one of ${Object.keys(FIELDS).join(', ')}, but is ` +
        `${JSON.stringify((format as { type?: unknown }).type)}; a JSON schema is given as ` +
        "{ type: 'json_schema', schema }, and { type: 'json' } is any JSON",
    );
  if (depth > MAX_NESTING) throw new FormatError(`${path} is nested deeper than ${MAX_NESTING} levels`);
  checkOptionNames(path, format, FIELDS[format.type], RENAMED);
  const isText = (value: unknown, name: string) => {
    if (typeof value !== 'string') throw new FormatError(`${path}.${name} must be a text`);
  };
  const each = (list: readonly TextFormat[], name: string) => {
    if (!Array.isArray(list) || list.length === 0) throw new FormatError(`${path}.${name} must be a list of formats`);
    for (const [i, one] of list.entries()) checkParts(one, `${path}.${name}.${i}`, depth + 1);
  };
  switch (format.type) {
    case 'json':
    case 'json_schema':
      if (!['compact', 'flexible', undefined].includes(format.whitespace))
        throw new FormatError(
          `${path}.whitespace must be compact or flexible, but is ${JSON.stringify(format.whitespace)}`,
        );
      if (format.type === 'json_schema' && JSON.stringify(format.schema) === undefined)
        throw new FormatError(`${path}.schema must be a JSON schema: an object, true or false`);
      break;
    case 'regex':
      isText(format.pattern, 'pattern');
      break;
    case 'text':
    case 'without':
      isText(format.text, 'text');
      if (format.type === 'without' && format.text === '') throw new FormatError(`${path}.text must not be empty`);
      break;
    case 'sequence':
      each(format.parts, 'parts');
      break;
    case 'choice':
      each(format.of, 'of');
      break;
    case 'repeat': {
      const { min = 0, max = Number.POSITIVE_INFINITY } = format;
      if (
        !(Number.isInteger(min) && min >= 0 && max >= Math.max(min, 1) && (Number.isInteger(max) || max === Infinity))
      )
        throw new FormatError(`${path}: min and max must be whole numbers, and max at least 1 and min`);
      checkParts(format.part, `${path}.part`, depth + 1);
      if (format.separator !== undefined) checkParts(format.separator, `${path}.separator`, depth + 1);
    }
  }
}

/** @returns the format as text. @throws InputError, FormatError for what is no format. */
function checkFormat(format: TextFormat): string {
  let source: string;
  try {
    source = JSON.stringify(format);
  } catch (cause) {
    throw new FormatError(`format is no plain JSON: ${(cause as Error).message}`, { cause });
  }
  checkParts(format, 'format', 0);
  if (source.length > MAX_SOURCE)
    throw new FormatError(`format has ${source.length} characters; at most ${MAX_SOURCE} are supported`);
  return source;
}

function trieOf(tokenizer: Tokenizer, specials: SpecialTokens): TokenTrie {
  if (!tokenizer.decodesInPieces)
    throw new FormatError("format can't be enforced: this tokenizer does not decode token by token");
  const bytes = Array.from({ length: tokenizer.vocabSize }, (_, id) => {
    const own = tokenizer.tokenBytes(id);
    // No text has this byte, which begins special tokens here.
    return own?.includes(0xff) ? null : own;
  });
  for (const id of specials.values()) bytes[id] = specialBytes(id);
  return new TokenTrie(bytes);
}

function specialsOf(tokenizer: Tokenizer): SpecialTokens {
  return new Map([...tokenizer.specialTokenIds].map((id) => [tokenizer.idToToken(id) ?? '', id]));
}
