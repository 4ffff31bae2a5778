/** Words of captions. Pure. */

/** The words of a text, in the server's sense: what stands between white space. */
export function splitWords(text: string): string[] {
  return text.split(/\s+/).filter(Boolean);
}

/** A text reduced to what two spellings of the same words share: lower case, no punctuation, single spaces. */
export function normalise(text: string): string {
  return text
    .toLowerCase()
    .replace(/[^\p{L}\p{N}'\s]/gu, " ")
    .replace(/\s+/g, " ")
    .trim();
}

export interface DiffPart {
  kind: "same" | "removed" | "added";
  text: string;
}

/** What turns `before` into `after`, word by word (longest common subsequence; case and punctuation do not count). */
export function wordDiff(before: string, after: string): DiffPart[] {
  const a = splitWords(before);
  const b = splitWords(after);
  const key = (w: string) => normalise(w) || w;
  // best[i][j]: length of the longest common subsequence of a[i..] and b[j..].
  const best = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0));
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      best[i]![j] = key(a[i]!) === key(b[j]!) ? best[i + 1]![j + 1]! + 1 : Math.max(best[i + 1]![j]!, best[i]![j + 1]!);
    }
  }
  const parts: DiffPart[] = [];
  const push = (kind: DiffPart["kind"], word: string) => {
    const last = parts[parts.length - 1];
    if (last?.kind === kind) last.text += ` ${word}`;
    else parts.push({ kind, text: word });
  };
  let i = 0;
  let j = 0;
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && key(a[i]!) === key(b[j]!)) {
      push("same", b[j]!);
      i++;
      j++;
    } else if (j >= b.length || (i < a.length && best[i + 1]![j]! >= best[i]![j + 1]!)) {
      push("removed", a[i++]!);
    } else {
      push("added", b[j++]!);
    }
  }
  return parts;
}

/** Where a sentence frame ("I come from …", "My ___ is red.") waits for the learner's own words, or null. */
export function findGap(text: string): { before: string; after: string } | null {
  const match = /\s*(?:…|\.{3,}|_{2,})\s*/.exec(text);
  if (!match) return null;
  const before = text.slice(0, match.index);
  const after = text.slice(match.index + match[0].length);
  return { before: before && `${before} `, after: after && (/^[.,!?]/.test(after) ? after : ` ${after}`) };
}
