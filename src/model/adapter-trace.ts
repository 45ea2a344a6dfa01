/**
 * @file Which positions of a model live adapters change, and which of them a trace has met.
 */
import type { Value } from '../ops/types.ts';

/**
 * Names of hooks: a packed linear layer such as `h.0.attn.qkv`, `lm_head`, `wte`, a norm, an attention such as
 * `h.0.attn`.
 */
export interface AdapterHooks {
  /** Rows of the batch use different adapters, or with different weights. */
  readonly perRow: boolean;
  /** Hooks with a low-rank part, and the widths of its blocks of columns. */
  readonly lowRank: ReadonlyMap<string, readonly number[]>;
  /** Hooks with a factor, and hooks with an addend. */
  readonly scale: ReadonlySet<string>;
  readonly shift: ReadonlySet<string>;
  /** Norms whose weight and bias are inputs. */
  readonly norms: ReadonlySet<string>;
  /** Attentions whose queries also attend to prefixes. */
  readonly prefixes: ReadonlySet<string>;
}

export type HookKind = 'lowRank' | 'scale' | 'shift' | 'norms' | 'prefixes';

/** The adapters of one trace. */
export class AdapterTrace {
  readonly hooks: AdapterHooks;
  /** int64 [B, T] */
  readonly ids: Value;
  /** int64 [N], among the B·T tokens. */
  readonly logitRows: Value;
  /** [b, n, P], once for all prefixes. */
  hidden: Value | null = null;
  /** Inputs of hooks: a module that a layer applies twice reads the same ones. */
  readonly inputs = new Map<string, Value>();
  /** Hooks that the trace has met, as `KIND NAME`. */
  readonly #met = new Set<string>();

  constructor(hooks: AdapterHooks, ids: Value, logitRows: Value) {
    this.hooks = hooks;
    this.ids = ids;
    this.logitRows = logitRows;
  }

  /** Whether adapters change this hook; the hook then counts as met. */
  at(kind: HookKind, name: string): boolean {
    const open = this.hooks[kind].has(name);
    if (open) this.#met.add(`${kind} ${name}`);
    return open;
  }

  /** Hooks that no part of the model has: adapters that need them do not fit. */
  unmet(): string[] {
    const kinds: readonly HookKind[] = ['lowRank', 'scale', 'shift', 'norms', 'prefixes'];
    const left = kinds.flatMap((kind) =>
      [...this.hooks[kind].keys()].filter((name) => !this.#met.has(`${kind} ${name}`)),
    );
    return [...new Set(left)];
  }
}
