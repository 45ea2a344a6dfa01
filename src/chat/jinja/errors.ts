/**
 * @file Errors within templates; {@link ChatTemplate} gives them their public types.
 */

/** A template that fails while it renders, or can't be read. */
export class JinjaError extends Error {}

/** The template refuses what it is given, by `raise_exception`. */
export class RaisedError extends JinjaError {}
