/**
 * @file The text so far: what was given, and what each cache made the model write.
 */
import { byId, element } from './dom.ts';
import type { Message } from './engine.ts';
import type { Turn } from './kept.ts';
import { fail, say } from './status.ts';

const log = byId('log');

/** A turn on the page. */
export interface ShownTurn {
  /** Adds a piece to an answer. */
  add(answer: number, text: string): void;
  /** An answer is complete, or says why it is not. */
  end(answer: number): void;
}

export function showTurn(turn: Turn): ShownTurn {
  const outputs = turn.answers.map(({ label, content }) =>
    element('span', { 'data-policy': label, dir: 'auto' }, [content]),
  );
  const parts = turn.answers.map(({ label }, i) => element('div', {}, [element('b', {}, [label]), outputs[i]]));
  const yours = element('span', { dir: 'auto' }, [turn.given]);
  if (turn.given !== '') log.append(element('div', { class: 'turn' }, [element('b', {}, ['you']), yours]));
  log.append(element('div', { class: 'turn answers' }, parts));
  log.scrollTop = log.scrollHeight;
  return {
    add(i, text) {
      // Who has scrolled up reads there.
      const follows = log.scrollTop + log.clientHeight > log.scrollHeight - 40;
      turn.answers[i].content += text;
      outputs[i].append(text);
      if (follows) log.scrollTop = log.scrollHeight;
    },
    end(i) {
      const { label, content, end } = turn.answers[i];
      if (end) parts[i].append(element('i', {}, [end]));
      if (content !== '') parts[i].append(copyButton(label, content));
    },
  };
}

function copyButton(label: string, content: string): HTMLElement {
  const name = `Copy what ${label} has written`;
  const button = element('button', { type: 'button', class: 'small', 'aria-label': name }, ['Copy']);
  button.addEventListener('click', () => {
    const copied = navigator.clipboard?.writeText(content.trim()) ?? Promise.reject(new Error('there is no clipboard'));
    copied.then(
      () => say('Copied.'),
      (error) => fail(new Error(`the browser does not let this page copy: ${error.message}`)),
    );
  });
  return button;
}

export function clearLog(): void {
  log.replaceChildren();
}

/** The text that a side has, with what is added. */
export const textOf = (turns: readonly Turn[], side: number, given: string): string =>
  turns.map((turn) => turn.given + contentOf(turn, side)).join('') + given;

/** The conversation that a side has, with a question. */
export function messagesOf(turns: readonly Turn[], side: number, system: string, question: string): Message[] {
  const messages: Message[] = system === '' ? [] : [{ role: 'system', content: system }];
  for (const turn of turns) {
    const content = contentOf(turn, side);
    // Many templates refuse a question without an answer, and an empty one misleads the model.
    if (content !== '') messages.push({ role: 'user', content: turn.given }, { role: 'assistant', content });
  }
  return [...messages, { role: 'user', content: question }];
}

/** A second side begins with the text of the first. */
const contentOf = ({ answers }: Turn, side: number): string => (answers[side] ?? answers[0]).content;
