/**
 * How deep the deepest expression of a Cedar text goes, and the branches of the policy with the most of them: an
 * upper bound, told without parsing. Brackets count twice; operators and dots count until the next `&&`, `||`,
 * comma or semicolon of their bracket. Strings and comments count for nothing.
 */
export function shapeOf(text: string): { readonly depth: number; readonly branches: number } {
  let [depth, branches, deepest, mostBranches] = [0, 0, 0, 0];
  let chain = 0;
  const outer: number[] = [];
  for (const [token] of text.matchAll(tokens)) {
    if (token === '(' || token === '[' || token === '{') {
      outer.push(chain);
      depth += chain + 2;
      chain = 0;
    } else if (token === ')' || token === ']' || token === '}') {
      chain = outer.pop() ?? 0;
      depth = Math.max(0, depth - chain - 2);
    } else if (token === '&&' || token === '||' || token === 'if') {
      branches += 1;
      chain = 0;
    } else if (token === ',' || token === ';') {
      if (token === ';') branches = 0;
      chain = 0;
    } else if (/^[^"/\w]/.test(token)) {
      chain += 1;
    }
    deepest = Math.max(deepest, depth + chain);
    mostBranches = Math.max(mostBranches, branches);
  }
  return { depth: deepest, branches: mostBranches };
}

/** Strings, comments, words, the operators that branch, and every other character by itself. */
const tokens = /"(?:[^"\\]|\\.)*(?:"|$)|\/\/[^\n]*|\w+|&&|\|\||::|[^\s"\w]|"/gs;
