/**
 * @file The forms that a text may be asked to have, and their grammars.
 */
import type { Tokenizer } from '../tokenizer/tokenizer.ts';
import { FormatError } from '../util/errors.ts';
import { checkOptionNames } from '../util/option-names.ts';
import { type Item, Machine } from './machine.ts';
import { Masks } from './masks.ts';
import { SchemaDocument } from './schema/document.ts';
import type { JsonObject } from './schema/form.ts';
import { Forms } from './schema/forms.ts';
import { goalOf, Keywords } from './schema/keywords.ts';
import type { Separators } from './schema/node-types.ts';
import { Nodes } from './schema/nodes.ts';
import { JsonCharacters, PlainCharacters } from './terms/characters.ts';
import { wholeTerm } from './terms/pattern.ts';
import { Terms } from './terms/terms.ts';
import { TokenTrie } from './token-trie.ts';

/** White space between the parts of a JSON text. */
export type JsonWhitespace = 'compact' | 'flexible';

/**
 * What a generated text must be. It is plain JSON. Tokens that lead to anything else are never chosen, and the text ends when it is
 * complete. A text that is cut off before (`finishReason` is not `eos`) is the beginning of such a text.
 */
export type TextFormat =
  | {
      /** Any JSON value. */
      readonly type: 'json';
      /**
       * `compact`: at most one space after a comma or a colon. `flexible`: up to 8 spaces, tabs and line ends wherever JSON allows them.
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
    compiled = { trie: trieOf(tokenizer), grammars: new Map() };
    COMPILED.set(tokenizer, compiled);
  }
  const { trie, grammars } = compiled;
  const known = grammars.get(source);
  grammars.delete(source);
  const grammar = known ?? makeGrammar(format, trie);
  if (grammars.size >= MAX_GRAMMARS) grammars.delete(grammars.keys().next().value!);
  grammars.set(source, grammar);
  return grammar;
}

/** A grammar of its own. @throws FormatError */
export function makeGrammar(format: TextFormat, trie: TokenTrie): Grammar {
  const machine = compileFormat(format);
  return { machine, trie, masks: new Masks(machine, trie) };
}

/** The automaton of a format. @throws FormatError */
export function compileFormat(format: TextFormat): Machine {
  const terms = new Terms();
  return new Machine(terms, rootOf(format, terms));
}

function rootOf(format: TextFormat, terms: Terms): Item {
  if (format.type === 'regex') {
    const term = terms.prune(wholeTerm(format.pattern, new PlainCharacters(terms)));
    if (term.kind === 'none') throw new FormatError('no text matches format.pattern');
    return term;
  }
  // A copy: the caller may change the schema, and identity tells its parts apart.
  const schema = (format.type === 'json' ? true : JSON.parse(JSON.stringify(format.schema))) as JsonObject | boolean;
  const keywords = new Keywords(new JsonCharacters(terms));
  const forms = new Forms(new SchemaDocument(schema), keywords);
  return new Nodes(forms, separatorsOf(terms, format.whitespace)).root(goalOf(schema, ''));
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

/** @returns the format as text. @throws InputError, FormatError for what is no format. */
function checkFormat(format: TextFormat): string {
  if (typeof format !== 'object' || format === null)
    throw new FormatError("format must be an object such as { type: 'json' }");
  switch (format.type) {
    case 'json':
      checkOptionNames('format', format, { type: true, whitespace: true }, {});
      break;
    case 'json_schema':
      checkOptionNames('format', format, { type: true, schema: true, whitespace: true }, { json_schema: 'schema' });
      break;
    case 'regex':
      checkOptionNames('format', format, { type: true, pattern: true }, { regex: 'pattern' });
      if (typeof format.pattern !== 'string') throw new FormatError('format.pattern must be a text');
      break;
    default:
      throw new FormatError(
        `format.type must be json, json_schema or regex, but is ${JSON.stringify((format as { type?: unknown }).type)}`,
      );
  }
  if (format.type !== 'regex' && !['compact', 'flexible', undefined].includes(format.whitespace))
    throw new FormatError(`format.whitespace must be compact or flexible, but is ${JSON.stringify(format.whitespace)}`);
  let source: string;
  try {
    source = JSON.stringify(format);
  } catch (cause) {
    throw new FormatError(`format is no plain JSON: ${(cause as Error).message}`, { cause });
  }
  if (format.type === 'json_schema' && JSON.stringify(format.schema) === undefined)
    throw new FormatError('format.schema must be a JSON schema: an object, true or false');
  if (source.length > MAX_SOURCE)
    throw new FormatError(`format has ${source.length} characters; at most ${MAX_SOURCE} are supported`);
  return source;
}

function trieOf(tokenizer: Tokenizer): TokenTrie {
  if (!tokenizer.decodesInPieces)
    throw new FormatError("format can't be enforced: this tokenizer does not decode token by token");
  return new TokenTrie(Array.from({ length: tokenizer.vocabSize }, (_, id) => tokenizer.tokenBytes(id)));
}
