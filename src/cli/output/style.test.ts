import { describe, expect, it } from 'vitest';
import { TextSink } from '../../../test/support/cli.ts';
import { styleOf, wantsColour } from './style.ts';

const terminal = new TextSink(80);
const pipe = new TextSink();

describe('colour', () => {
  it('is for terminals', () => {
    expect(wantsColour(terminal, {})).toBe(true);
    expect(wantsColour(pipe, {})).toBe(false);
    expect(wantsColour(terminal, { TERM: 'dumb' })).toBe(false);
  });

  it('follows NO_COLOR and FORCE_COLOR', () => {
    expect(wantsColour(terminal, { NO_COLOR: '1' })).toBe(false);
    expect(wantsColour(terminal, { NO_COLOR: '' })).toBe(true);
    expect(wantsColour(pipe, { FORCE_COLOR: '1' })).toBe(true);
    expect(wantsColour(pipe, { FORCE_COLOR: '' })).toBe(true);
    expect(wantsColour(terminal, { FORCE_COLOR: '0' })).toBe(false);
    expect(wantsColour(pipe, { NO_COLOR: '1', FORCE_COLOR: '1' })).toBe(true);
  });

  it('leaves the text as it is where it is off', () => {
    expect(styleOf(pipe, {}).bold('x')).toBe('x');
    expect(styleOf(terminal, {}).bold('x')).toBe('\x1b[1mx\x1b[22m');
    expect(styleOf(terminal, {}).bold('')).toBe('');
  });
});
