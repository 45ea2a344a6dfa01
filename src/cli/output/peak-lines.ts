/**
 * @file The parts of a process's peak memory, as `estimate` and `inspect` show them.
 */
import type { MemoryPlan } from '../../exports/checkpoint-node.ts';
import { bytes, counted } from './format.ts';

/** A part: what it belongs to (empty: as the one before), its size, and what it is. */
type PeakPart = readonly [label: string, size: string, what: string];

function peakParts(plan: MemoryPlan): PeakPart[] {
  const { format, resident, workspaceParts: parts, cacheLength, contextLength, cachePolicy } = plan;
  const tokens = counted(Math.min(cacheLength, contextLength), 'token');
  const others = Object.entries(plan.total).filter(([name]) => name !== format);
  return [
    ['runtime', bytes(plan.runtime), `Node, the library, the engine ${plan.engine}, graph and tokenizer`],
    ['weights', bytes(resident[format].private), 'copies in the layout that the engine multiplies fastest'],
    ['', bytes(resident[format].mapped), 'mapped: read in place in the file of prepared weights'],
    ['cache', bytes(plan.cache), `keys and values of ${tokens} (${cachePolicy})`],
    ['', bytes(plan.bookkeeping), 'positions, scores, and what the last chunk overwrote'],
    ['workspace', bytes(plan.workspace), `a chunk of ${counted(plan.chunkLength, 'token')}:`],
    ['', '', `graph ${bytes(parts.graph)}, logits ${bytes(parts.logits)}, keys and values ${bytes(parts.chunk)},`],
    ['', '', `arrays not collected yet ${bytes(parts.garbage)}`],
    [
      'together',
      bytes(plan.total[format]),
      `with ${others.map(([name, size]) => `${name} ${bytes(size)}`).join(', ')}`,
    ],
  ];
}

const WIDTHS = { label: 13, size: 9 };

export function peakLines(plan: MemoryPlan, dim: (text: string) => string): string[] {
  return peakParts(plan).map(
    ([label, size, what]) =>
      `  ${dim(label.padEnd(WIDTHS.label))}${size.padStart(WIDTHS.size)}  ${label === 'together' ? dim(`(${what})`) : dim(what)}`,
  );
}
