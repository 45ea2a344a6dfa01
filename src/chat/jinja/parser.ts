/**
 * @file The grammar of statements.
 */
import type { Expression, MacroNode, Statement } from './ast.ts';
import type { JinjaError } from './errors.ts';
import { ExpressionParser } from './expressions.ts';
import { tokenize } from './lexer.ts';

/** Tags of jinja2 that need other templates; a chat template has none. */
const NEED_OTHER_TEMPLATES = new Set(['extends', 'include', 'import', 'from']);

/** @throws JinjaError says which line can't be read. */
export function parseTemplate(template: string): readonly Statement[] {
  return new Parser(template).run();
}

class Parser {
  readonly #in: ExpressionParser;
  /** Loops around the tag that is read. */
  #loops = 0;

  constructor(template: string) {
    this.#in = new ExpressionParser(tokenize(template));
  }

  run(): readonly Statement[] {
    const body = this.#body([]);
    if (!this.#in.is('eof')) throw this.#in.error('the end is expected');
    return body;
  }

  /** Statements up to a tag of these names, whose name is the next token; without names, up to the end. */
  #body(ends: readonly string[]): readonly Statement[] {
    const statements: Statement[] = [];
    const input = this.#in;
    return input.nested(() => {
      for (;;) {
        const { type, text } = input.current;
        if (type === 'eof') {
          if (ends.length > 0) throw input.error(`{% ${ends.at(-1)} %} is expected`);
          return statements;
        }
        input.next();
        if (type === 'data') statements.push({ kind: 'data', text });
        else if (type === 'variable-begin') {
          statements.push({ kind: 'output', value: input.tuple() });
          input.expect('variable-end');
        } else {
          if (input.isName(...ends)) return statements;
          statements.push(this.#statement());
        }
      }
    });
  }

  /** Statements up to the end of a tag, which is read as well. */
  #bodyTo(end: string): readonly Statement[] {
    this.#in.expect('block-end');
    const body = this.#body([end]);
    this.#in.next();
    return body;
  }

  #end(): void {
    this.#in.expect('block-end');
  }

  #statement(): Statement {
    const { text: tag } = this.#in.expect('name');
    switch (tag) {
      case 'if':
        return this.#if();
      case 'for':
        return this.#for();
      case 'set':
        return this.#set();
      case 'break':
      case 'continue':
        if (this.#loops === 0) throw this.#in.error(`{% ${tag} %} is outside of a loop`);
        this.#end();
        return { kind: tag };
      case 'macro':
        return this.#macro();
      case 'call':
        return this.#callBlock();
      case 'filter':
        return this.#filterBlock();
      case 'with':
        return this.#with();
      case 'generation':
        return this.#scope('endgeneration');
      case 'autoescape':
        return this.#autoescape();
      case 'block':
        return this.#block();
    }
    throw this.#unknown(tag);
  }

  #unknown(tag: string): JinjaError {
    return NEED_OTHER_TEMPLATES.has(tag)
      ? this.#in.error(`{% ${tag} %} needs other templates, which a chat template does not have`)
      : this.#in.error(`there is no tag {% ${tag} %}`);
  }

  #if(): Statement {
    const branches: { test: Expression; body: readonly Statement[] }[] = [];
    let otherwise: readonly Statement[] = [];
    for (;;) {
      const test = this.#in.tuple(false);
      this.#end();
      branches.push({ test, body: this.#body(['elif', 'else', 'endif']) });
      const { text } = this.#in.next();
      if (text === 'elif') continue;
      if (text === 'else') otherwise = this.#bodyTo('endif');
      this.#end();
      return { kind: 'if', branches, otherwise };
    }
  }

  #for(): Statement {
    const input = this.#in;
    const target = input.target(true);
    if (!input.isName('in')) throw input.error("'in' is expected");
    input.next();
    const items = input.tuple(false);
    let filter: Expression | null = null;
    if (input.isName('if')) {
      input.next();
      filter = input.expression();
    }
    const recursive = input.isName('recursive');
    if (recursive) input.next();
    this.#end();
    this.#loops++;
    const body = this.#body(['else', 'endfor']);
    this.#loops--;
    const otherwise = input.next().text === 'else' ? this.#bodyTo('endfor') : [];
    this.#end();
    return { kind: 'for', target, items, filter, recursive, body, otherwise };
  }

  #set(): Statement {
    const input = this.#in;
    const target = input.target();
    if (input.skip('operator', '=')) {
      const value = input.tuple();
      this.#end();
      return { kind: 'set', target, value };
    }
    let filter: Expression | null = null;
    while (input.skip('operator', '|')) filter = input.filter(filter);
    const body = this.#bodyTo('endset');
    this.#end();
    return { kind: 'set-block', target, filter, body };
  }

  #macro(): MacroNode {
    const { text: name } = this.#in.expect('name');
    const macro = this.#macroOf(name, this.#params(), 'endmacro');
    this.#end();
    return macro;
  }

  #macroOf(name: string, params: MacroNode['params'], end: string): MacroNode {
    const { names } = this.#in;
    const from = names.length;
    const loops = this.#loops;
    this.#loops = 0;
    const body = this.#bodyTo(end);
    this.#loops = loops;
    const asks = (word: string) => names.includes(word, from) && !params.some((param) => param.name === word);
    const [takesVarargs, takesKwargs, takesCaller] = ['varargs', 'kwargs', 'caller'].map(asks);
    return { kind: 'macro', name, params, body, takesVarargs, takesKwargs, takesCaller };
  }

  #params(): MacroNode['params'] {
    const input = this.#in;
    const params: { name: string; fallback: Expression | null }[] = [];
    input.expect('operator', '(');
    while (!input.is('operator', ')')) {
      if (params.length > 0) input.expect('operator', ',');
      if (input.is('operator', ')')) break;
      const { text: name } = input.expect('name');
      const fallback = input.skip('operator', '=') ? input.expression() : null;
      if (fallback === null && params.at(-1)?.fallback) throw input.error(`'${name}' needs a default as well`);
      params.push({ name, fallback });
    }
    input.next();
    return params;
  }

  #callBlock(): Statement {
    const params = this.#in.is('operator', '(') ? this.#params() : [];
    const call = this.#in.expression();
    if (call.kind !== 'call') throw this.#in.error('a call is expected');
    const macro = this.#macroOf('caller', params, 'endcall');
    this.#end();
    return { kind: 'call-block', call, macro };
  }

  #filterBlock(): Statement {
    let filter = this.#in.filter(null);
    while (this.#in.skip('operator', '|')) filter = this.#in.filter(filter);
    const body = this.#bodyTo('endfilter');
    this.#end();
    return { kind: 'filter-block', filter, body };
  }

  #with(): Statement {
    const assignments: [ReturnType<ExpressionParser['target']>, Expression][] = [];
    while (!this.#in.is('block-end')) {
      if (assignments.length > 0) this.#in.expect('operator', ',');
      const { text: name } = this.#in.expect('name');
      this.#in.expect('operator', '=');
      assignments.push([{ kind: 'name', name }, this.#in.expression()]);
    }
    const body = this.#bodyTo('endwith');
    this.#end();
    return { kind: 'with', assignments, body };
  }

  #scope(end: string): Statement {
    const body = this.#bodyTo(end);
    this.#end();
    return { kind: 'scope', body };
  }

  #autoescape(): Statement {
    const value = this.#in.expression();
    if (value.kind !== 'constant' || value.value !== false)
      throw this.#in.error('only {% autoescape false %} is supported, and a constant is expected');
    return this.#scope('endautoescape');
  }

  /** A block that no other template can replace. */
  #block(): Statement {
    const { text: name } = this.#in.expect('name');
    const body = this.#bodyTo('endblock');
    if (this.#in.isName(name)) this.#in.next();
    this.#end();
    return { kind: 'scope', body };
  }
}
