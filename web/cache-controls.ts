/**
 * @file How a cache is chosen: its policy, the format of its slots, and the slider of its budget, which goes from 8 slots
 * to what the model and the memory allow, finer where it is small.
 */
import { byId, element } from './dom.ts';
import type { CacheChoice, SlotLimits } from './engine.ts';
import type { KeptChoice } from './kept.ts';
import { megabytes } from './side.ts';

const BUFFERS = ['float32', 'float16', 'int8', 'int4'] as const;
const LEAST = 8;
const STEPS_PER_DOUBLING = 8;

/** Fills a list. */
export function choose(select: HTMLSelectElement, values: readonly string[], chosen: string): void {
  select.replaceChildren(...values.map((value) => element('option', { value }, [value === '' ? 'nothing' : value])));
  select.value = values.includes(chosen) ? chosen : values[0];
}

/** The controls of one cache. Those of the second one are hidden until it has a policy. */
export class CacheControls {
  readonly policy: HTMLSelectElement;
  readonly #buffer: HTMLSelectElement;
  readonly #slider: HTMLInputElement;
  readonly #text: HTMLElement;
  readonly #format: HTMLElement;
  #values: readonly number[] = [LEAST];
  #limits: SlotLimits | null = null;
  /** What was asked for; the model may allow less. */
  #wanted: number | null = null;

  /** @param end of the elements' ids. @param onChange another cache is wanted. */
  constructor(end: '' | '-1', onChange: () => void) {
    this.policy = byId(`policy${end || '-0'}`);
    this.#buffer = byId(`buffer${end}`);
    this.#slider = byId(`budget${end}`);
    this.#text = byId(`budget-text${end}`);
    this.#format = byId(`format${end}`);
    choose(this.#buffer, BUFFERS, BUFFERS[0]);
    this.#slider.addEventListener('input', () => {
      this.#wanted = this.#values[Number(this.#slider.value)];
      this.#show();
    });
    for (const control of [this.policy, this.#buffer, this.#slider]) control.addEventListener('change', onChange);
  }

  get isUsed(): boolean {
    return this.policy.value !== '';
  }

  get buffer(): string {
    return this.#buffer.value;
  }

  get choice(): CacheChoice {
    return { policy: this.policy.value, cacheLength: this.#values[Number(this.#slider.value)], buffer: this.buffer };
  }

  /** As it is kept; `slots` are those that were asked for. */
  get kept(): KeptChoice {
    return { policy: this.policy.value, buffer: this.buffer, slots: this.#wanted };
  }

  /** Asks for another format and budget. */
  set({ buffer, slots }: Pick<KeptChoice, 'buffer' | 'slots'>): void {
    choose(this.#buffer, BUFFERS, buffer);
    this.#wanted = slots;
  }

  /** @param slots where nobody asked for others. @param limits null: a server has chosen the budget. */
  limit(slots: number, limits: SlotLimits | null): void {
    this.#format.hidden = !this.isUsed || !limits;
    if (!limits) return;
    this.#limits = limits;
    this.#values = slotSteps(limits.most);
    this.#slider.max = String(this.#values.length - 1);
    const step = this.#values.findIndex((value) => value >= (this.#wanted ?? slots));
    this.#slider.value = String(step < 0 ? this.#values.length - 1 : step);
    this.#show();
  }

  /** Says what is chosen, in slots and bytes. */
  #show(): void {
    const slots = this.#values[Number(this.#slider.value)];
    this.#text.textContent = `${slots} slots${this.#limits ? ` = ${megabytes(slots * this.#limits.bytes)}` : ''}`;
    // The slider counts steps.
    this.#slider.setAttribute('aria-valuetext', this.#text.textContent);
  }
}

function slotSteps(most: number): number[] {
  const steps: number[] = [];
  for (let base = LEAST; base < most; base *= 2)
    for (let slots = base; slots < Math.min(2 * base, most); slots += base / STEPS_PER_DOUBLING) steps.push(slots);
  return [...steps, most];
}
