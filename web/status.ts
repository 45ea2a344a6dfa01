/**
 * @file The line that says what the page does, or what went wrong.
 */
import { byId } from './dom.ts';

export function say(text: string, isError = false): void {
  const status = byId('status');
  status.textContent = text;
  status.classList.toggle('error', isError);
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

export const fail = (error: unknown): void => say(messageOf(error), true);
