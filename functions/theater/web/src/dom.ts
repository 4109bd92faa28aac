// The few helpers that stand in for a framework.

type Child = Node | string | null | undefined | false;
type Props = Record<string, string | number | boolean | ((event: Event) => void) | undefined>;

export function h<K extends keyof HTMLElementTagNameMap>(tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === false) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.filter((c): c is Node | string => c !== null && c !== undefined && c !== false));
  return element;
}

export function byID<T extends HTMLElement = HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`the page has no #${id}`);
  return element as T;
}

// text changes what an element says only if it differs, so that nothing is announced or painted twice.
export function text(element: Element, value: string): void {
  if (element.textContent !== value) element.textContent = value;
}

// attribute does the same for an attribute.
export function attribute(element: Element, name: string, value: string): void {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

// keyed brings a list to the given items, and keeps the elements of those that stay, with focus and scroll position.
export function keyed<T>(list: HTMLElement, items: T[], key: (item: T) => string, make: (item: T) => HTMLElement, update?: (element: HTMLElement, item: T) => void): void {
  const have = new Map<string, HTMLElement>();
  for (const child of list.children) have.set((child as HTMLElement).dataset['key'] ?? '', child as HTMLElement);
  let after: ChildNode | null = list.firstChild;
  for (const item of items) {
    const id = key(item);
    let element = have.get(id);
    if (element) have.delete(id);
    else {
      element = make(item);
      element.dataset['key'] = id;
    }
    update?.(element, item);
    if (element === after) after = element.nextSibling;
    else list.insertBefore(element, after);
  }
  for (const element of have.values()) element.remove();
}
