import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import {
  isCallExpression,
  isStringLiteral,
  type Node,
  type SourceFile,
  SyntaxKind,
} from 'typescript/unstable/ast';
import { createVirtualFileSystem } from 'typescript/unstable/fs';
import { API } from 'typescript/unstable/sync';

export const root = join(import.meta.dirname, '../..');

/** A TypeScript file by its path in the repository, parsed. */
export type Source = { readonly path: string; readonly file: SourceFile };

const virtualFolder = '/tidy';

/** Parses files, given as path and text, without looking at anything they import. */
export function parseSources(texts: Readonly<Record<string, string>>): Source[] {
  const paths = Object.keys(texts);
  const config = {
    compilerOptions: { noLib: true, noResolve: true, types: [], allowJs: false },
    files: paths,
  };
  const files = Object.fromEntries(paths.map((path) => [`${virtualFolder}/${path}`, texts[path]!]));
  const configFile = `${virtualFolder}/tsconfig.json`;
  const fs = createVirtualFileSystem({ ...files, [configFile]: JSON.stringify(config) });
  const api = new API({ cwd: virtualFolder, fs });
  try {
    const project = api.updateSnapshot({ openProjects: [configFile] }).getProjects()[0];
    return paths.map((path) => {
      const file = project?.program.getSourceFile(`${virtualFolder}/${path}`);
      if (!file) throw new Error(`${path} was not parsed`);
      return { path, file };
    });
  } finally {
    api.close();
  }
}

/** Every TypeScript file of the project, parsed. */
export function readSources(): Source[] {
  const paths = globSync('{src,web,tests,tools,bench}/**/*.ts', { cwd: root }).sort();
  return parseSources(Object.fromEntries(paths.map((path) => [path, readText(path)])));
}

/** The files of the repository: tracked, or new and not ignored. */
export function listFiles(): string[] {
  const args = ['ls-files', '-z', '--cached', '--others', '--exclude-standard'];
  const listed = execFileSync('git', args, { cwd: root, encoding: 'utf8' }).split('\0');
  return [...new Set(listed)].filter((path) => path !== '' && existsSync(join(root, path))).sort();
}

export function readText(path: string): string {
  return readFileSync(join(root, path), 'utf8');
}

/** Tests, tools and files that only tests use: they may import and do what product code may not. */
export function isTest(path: string): boolean {
  if (/^(tests|bench|tools)\//.test(path)) return true;
  return /(\.test|\.conformance)\.ts$/.test(path) || posix.basename(path).startsWith('test-');
}

export const isProduct = (path: string): boolean => /^(src|web)\//.test(path) && !isTest(path);

/** Whether a path is the file or lies in the folder that `place` names without an ending. */
export function isIn(path: string, place: string): boolean {
  return path === `${place}.ts` || path === place || path.startsWith(`${place}/`);
}

export type Import =
  | { readonly kind: 'file'; readonly path: string }
  | { readonly kind: 'node'; readonly name: string }
  | { readonly kind: 'package'; readonly name: string };

function parseSpecifier(from: string, specifier: string): Import {
  if (specifier.startsWith('node:')) return { kind: 'node', name: specifier };
  if (specifier.startsWith('.')) {
    return { kind: 'file', path: posix.join(posix.dirname(from), specifier) };
  }
  return { kind: 'package', name: /^(@[^/]+\/)?[^/]+/.exec(specifier)?.[0] ?? specifier };
}

/** Everything a file names as a module: in imports of any kind, re-exports and types. */
export function importsOf({ path, file }: Source): Import[] {
  return file.imports.filter(isStringLiteral).map(({ text }) => parseSpecifier(path, text));
}

/** Calls `visit` with every node below `node`. */
export function walk(node: Node, visit: (node: Node) => void): void {
  node.forEachChild((child) => {
    visit(child);
    walk(child, visit);
  });
}

/** `path:line` of a node, as editors and terminals understand it. */
export function place({ path, file }: Source, node: Node): string {
  return `${path}:${file.getLineAndCharacterOfPosition(node.getStart(file)).line + 1}`;
}

/** Imports whose target only shows when the program runs; no table can judge those. */
export function hiddenImports(source: Source): string[] {
  const found: string[] = [];
  walk(source.file, (node) => {
    if (!isCallExpression(node) || node.expression.kind !== SyntaxKind.ImportKeyword) return;
    const [target] = node.arguments;
    if (!target || !isStringLiteral(target)) found.push(place(source, node));
  });
  return found;
}
