/**
 * @file The slider of the budget: from 8 slots to what the model and the memory allow, finer where it is small.
 */
import { byId } from './dom.ts';
import type { SlotLimits } from './engine.ts';
import { megabytes } from './side.ts';

const LEAST = 8;
const STEPS_PER_DOUBLING = 8;
const FIRST = 48;

const slider = byId<HTMLInputElement>('budget');
const text = byId('budget-text');

let values: readonly number[] = [FIRST];
let limits: SlotLimits | null = null;

/** The chosen number of slots. */
export const chosenSlots = (): number => values[Number(slider.value)];

/** The chosen number stays as far as it is allowed. */
export function limitBudget(next: SlotLimits): void {
  const chosen = chosenSlots();
  limits = next;
  values = slotSteps(next.most);
  slider.max = String(values.length - 1);
  const step = values.findIndex((slots) => slots >= chosen);
  slider.value = String(step < 0 ? values.length - 1 : step);
  showBudget();
}

/** Says what is chosen, in slots and bytes. */
export function showBudget(): void {
  const slots = chosenSlots();
  text.textContent = `${slots} slots${limits ? ` = ${megabytes(slots * limits.bytes)}` : ''}`;
  // The slider counts steps.
  slider.setAttribute('aria-valuetext', text.textContent);
}

function slotSteps(most: number): number[] {
  const steps: number[] = [];
  for (let base = LEAST; base < most; base *= 2)
    for (let slots = base; slots < Math.min(2 * base, most); slots += base / STEPS_PER_DOUBLING) steps.push(slots);
  return [...steps, most];
}
