for (const button of document.querySelectorAll(".sortable th button")) {
  button.addEventListener("click", () => {
    const head = button.parentElement;
    const column = [...head.parentElement.children].indexOf(head);
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[column];
    const compare = (a, b) => {
      const [x, y] = [key(a).dataset.value, key(b).dataset.value];
      if (x !== undefined && y !== undefined) return x - y;
      if (x !== undefined || y !== undefined) return x === undefined ? 1 : -1;
      return key(a).textContent.localeCompare(key(b).textContent, undefined, { numeric: true });
    };
    // Rows stay in their group, under its name.
    for (const body of head.closest("table").tBodies) {
      const rows = [...body.rows].filter((row) => !row.classList.contains("group"));
      body.append(...rows.sort((a, b) => (ascending ? compare(a, b) : compare(b, a))));
    }
  });
}
