/**
 * @file A template of the Jinja language, as Python's jinja2 renders it with transformers' settings.
 *
 * An interpreter of its own: @huggingface/jinja writes other texts than jinja2 in many cases (white space, equality,
 * Python's way to write values), and has no bounds for templates that do not end.
 */
import type { Statement } from './ast.ts';
import { LIMITS, type Limits } from './budget.ts';
import { JinjaError } from './errors.ts';
import { globals } from './globals.ts';
import { Interpreter } from './interpreter.ts';
import { parseTemplate } from './parser.ts';
import { toValue } from './values.ts';

export class Template {
  readonly #body: readonly Statement[];

  /** @throws JinjaError says which line can't be read. */
  constructor(source: string) {
    this.#body = bounded(() => parseTemplate(source));
  }

  /** @throws JinjaError says what fails; RaisedError where the template refuses its input. */
  render(variables: Readonly<Record<string, unknown>>, limits: Limits = LIMITS): string {
    return bounded(() => {
      const interpreter = new Interpreter(limits);
      const values = globals(interpreter.budget);
      for (const [name, value] of Object.entries(variables)) if (value !== undefined) values.set(name, toValue(value));
      return interpreter.render(this.#body, values);
    });
  }
}

/** A deep value or a long text ends in a RangeError of the platform. */
function bounded<T>(run: () => T): T {
  try {
    return run();
  } catch (cause) {
    if (cause instanceof RangeError)
      throw new JinjaError('it is nested too deep, or makes a text that is too long', { cause });
    throw cause;
  }
}
