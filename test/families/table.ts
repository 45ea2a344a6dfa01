/**
 * @file The support table, docs/families.md: made of what was measured.
 */
import { REFUSED_TYPES } from '../../src/families/refused-types.ts';
import { WRAPPERS } from '../../src/families/wrappers.ts';
import { familyCases } from './cases.ts';
import type { FamilyReport } from './one.ts';
import type { RefusedOption } from './refusals.ts';

/** Bounds that errors are rounded up to. */
const BOUNDS = [1e-6, 5e-6, 1e-5, 2e-5, 5e-5, 1e-4, 2e-4];
/** How far an agreement may be from what is written: processors round differently. */
const DRIFT = 6;

const percent = (share: number | null): string => (share === null ? '—' : `${Math.round(100 * share)} %`);

const code = (names: readonly string[]): string => names.map((name) => `\`${name}\``).join(', ');

function bound(error: number): string {
  // Twice, so that another order of adding up does not change the page.
  const found = BOUNDS.find((most) => 2 * error <= most) ?? 2e-4;
  return found.toExponential(0).replace('e-', 'e−');
}

/**
 * Writes the page.
 * @param before the page as it was: families that were not measured now keep their rows.
 */
export function supportPage(reports: readonly FamilyReport[], refused: readonly RefusedOption[], before = ''): string {
  const cells = before.split('\n').map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
  const kept = new Map(cells.filter(({ length }) => length === 5).map((row) => [row[0], row]));
  const rows = familyCases().flatMap(({ name, family }) => {
    const types = code(family.modelTypes);
    const report = reports.find((one) => one.name === name);
    if (!report) return kept.has(types) ? [kept.get(types)!] : [];
    const { cases, error, agreement } = report;
    const names = cases.map((one) => one.name).join(', ');
    return [[types, names, bound(error), percent(agreement.int8), percent(agreement.int4)]];
  });
  const wrapped = WRAPPERS.map(({ modelTypes, parts }) => [
    code(modelTypes),
    Object.entries(parts)
      .map(([part, { config }]) => `\`${part}\`${config ? ` (its \`${config}\`)` : ''}`)
      .join(', '),
  ]);
  return [
    '# Families',
    '',
    '<!-- Written by `npm run families -- --write`; `npm run families` checks it. -->',
    '',
    'What each family is compared with, and how well it agrees: golden values of Hugging Face transformers, in float64 where its',
    'code allows. Cases are small models with random weights, which is the hardest for 8 and 4 bits: trained models agree far',
    'more often. All logits are compared in one chunk and in chunks of 1, 3 and 7 tokens, and greedy tokens one by one.',
    '',
    table(['`model_type`', 'cases', 'largest error, below', 'int8: same next token', 'int4'], rows),
    '',
    'Encoders are loaded with `loadEncoder()`: `esm`, `pixtral`, `mimi`, `clvp_encoder`, and `gemma3_text` where its config says',
    '`use_bidirectional_attention`. Layers that attend to an image (`mllama`, `idefics`) take its states with `model.setCrossAttentionStates()`;',
    'without any, the model is one of text. Where a token has several positions (`qwen2_vl`), steps take them as `positions`.',
    '',
    '`mamba2` with several groups normalizes each group, as mamba_ssm, llama.cpp and transformers 5.23 and newer do (case',
    '`mamba2-groups`, made with 5.24). A model that transformers 5.0 to 5.22 made is normalized as that version does, over all',
    'channels (case `mamba2`, made with 5.18). Its `transformers_version` tells, unless `norm_before_gate` or `rms_norm` is stated,',
    "which are options of mamba_ssm: Codestral Mamba's.",
    '',
    '## Models inside of others',
    '',
    'Of a checkpoint that holds several models the first part is loaded unless the option `part` names another.',
    '',
    table(['`model_type`', 'parts'], wrapped),
    '',
    'The logits of `cohere2_vision` are scaled by `logit_scale`, as those of `cohere2` are. The wrapper of transformers 5.18 leaves that out.',
    '',
    '## What is refused',
    '',
    'Any key of config.json that a family does not know is refused, if it is switched on. These are known, and not computed:',
    '',
    table(
      ['in', 'option', 'Keyhold says'],
      refused.map(({ name, option, words }) => [`\`${name}\``, `\`${option}\``, words]),
    ),
    '',
    refusedTypes(),
    '',
  ].join('\n');
}

/** The section of the types of models that are refused, and why. */
export function refusedTypes(): string {
  const reasons = [...new Set(Object.values(REFUSED_TYPES))];
  const typesOf = (reason: string) => Object.keys(REFUSED_TYPES).filter((type) => REFUSED_TYPES[type] === reason);
  const rows = reasons.map((reason) => [code(typesOf(reason)), reason]);
  return ['These types of models are known, and refused:', '', table(['`model_type`', 'why'], rows)].join('\n');
}

/** As the formatter writes it. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll('|', '\\|')));
  const widths = head.map((_, i) => Math.max(...cells.map((row) => [...row[i]].length)));
  const line = (row: readonly string[]) => `| ${row.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(cells[0]), line(widths.map((width) => '-'.repeat(width))), ...cells.slice(1).map(line)].join('\n');
}

/**
 * What of a page is not as measured: another row, an error above what is written, an agreement further off than
 * rounding explains.
 */
export function differences(written: string, measured: string): string[] {
  const [old, fresh] = [written, measured].map((page) => page.split('\n').map(cellsOf));
  const found: string[] = [];
  for (let i = 0; i < Math.max(old.length, fresh.length); i++)
    if (!isClose(old[i] ?? [], fresh[i] ?? [])) found.push(`line ${i + 1}: ${fresh[i]?.join(' | ') ?? 'is too many'}`);
  return found;
}

/** A line of the page; how wide a table's columns are says nothing. */
const cellsOf = (line: string): string[] =>
  line.split(' | ').map((cell) =>
    cell
      .replace(/^\||\|$/g, '')
      .replace(/-+$/, '-')
      .trim(),
  );

/** Whether two rows say the same but for numbers that may drift. */
function isClose(written: readonly string[], measured: readonly string[]): boolean {
  return (
    written.length === measured.length &&
    written.every((cell, i) => {
      if (cell === measured[i]) return true;
      const [x, y] = [cell, measured[i]].map((text) => Number(text.replace(' %', '').replace('−', '-')));
      return cell.includes('%') ? Math.abs(x - y) <= DRIFT : x > 0 && y <= 5 * x;
    })
  );
}
