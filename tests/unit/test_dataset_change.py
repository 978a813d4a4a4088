"""Statements that change a dataset: what a parser takes apart, and a corpus of what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.dataset.change import Change, change_of
from shared.dataset.editing import edit
from shared.dataset.reader import DatasetReader
from shared.errors import Conflict, InvalidInput
from tests.dataset_corpus import article, document, written

REFUSED = [
    "",
    ";",
    "SELECT 1",
    "SELECT * FROM prices",
    "INSERT INTO prices SELECT * FROM prices",
    "DROP TABLE prices",
    "TRUNCATE prices",
    "COPY prices TO '/tmp/x'",
    "DELETE FROM prices",
    "UPDATE prices SET amount = 1",
    "DELETE FROM prices WHERE TRUE; DROP TABLE prices",
    "UPDATE prices SET amount = 1 WHERE TRUE; DELETE FROM media WHERE TRUE",
    "WITH a AS (SELECT 1) DELETE FROM prices WHERE TRUE",
    "DELETE FROM prices USING products WHERE TRUE",
    "DELETE FROM prices WHERE TRUE RETURNING *",
    "UPDATE prices SET amount = 1 FROM products WHERE TRUE",
    "UPDATE prices p SET amount = 1 WHERE p.amount < 2",
    "UPDATE main.prices SET amount = 1 WHERE TRUE",
    "UPDATE prices SET amount = 1 WHERE prices.amount < 2",
    "UPDATE prices SET amount = 1 WHERE TRUE LIMIT 1",
    "UPDATE prices SET amount = 1 WHERE TRUE ORDER BY amount",
    "UPDATE prices SET amount = (SELECT max(amount) FROM prices) WHERE TRUE",
    "DELETE FROM prices WHERE product_id IN (SELECT product_id FROM products)",
    "DELETE FROM prices WHERE EXISTS (SELECT 1)",
    "UPDATE prices SET amount = random() WHERE TRUE",
    pytest.param(f"UPDATE prices SET amount = amount{'+1-1' * 1900} WHERE TRUE", id="deep value"),  # noqa: S608
    pytest.param(f"DELETE FROM prices WHERE amount{'+1-1' * 1900} > 1", id="deep condition"),  # noqa: S608
    "UPDATE products SET name = current_user WHERE TRUE",
    "UPDATE products SET name = read_text('/etc/passwd') WHERE TRUE",
    "UPDATE products SET name = $$x$$ || E'\\n' WHERE TRUE",
    "UPDATE products SET name = ? WHERE TRUE",
    "UPDATE products SET name = :a WHERE TRUE",
    "UPDATE products SET name = $1 WHERE TRUE",
    "UPDATE products SET name = CAST(x AS text) WHERE TRUE",
    "UPDATE products SET (name, unit) = ('a', 'b') WHERE TRUE",
    "UPDATE products SET name = 'a', name = 'b' WHERE TRUE",
    "UPDATE products SET product_id = 'x' WHERE TRUE",
    "UPDATE products SET article_number = 'x' WHERE TRUE",
    "UPDATE prices SET price_type = 'x' WHERE TRUE",
    "UPDATE products SET password = 'x' WHERE TRUE",
    "UPDATE products SET name = 'x' WHERE password = 'x'",
    "UPDATE documents SET title = 'x' WHERE TRUE",
    "UPDATE chunks SET text = 'x' WHERE TRUE",
    "UPDATE vectors SET vector = 'x' WHERE TRUE",
    "DELETE FROM products WHERE TRUE",
    "DELETE FROM documents WHERE TRUE",
    'UPDATE "prices""; DROP TABLE media; --" SET amount = 1 WHERE TRUE',
    "UPDATE prices SET amount = 1 WHERE name = 'open",
    "UPDATE prices SET amount = 1 WHERE TRUE /* open",
    "UPDATE prices SET amount = 1 WHERE TRUE\0",
    "MATCH (n:Node) DELETE n",
    "UPDATE prices SET amount = 1 WHERE " + "(" * 3000 + "TRUE" + ")" * 3000,
    "UPDATE prices SET amount = 1 WHERE amount IN (" + "1," * 5000 + "1)",
]


@pytest.mark.requirement("I-11", "A-08")
@pytest.mark.parametrize("statement", REFUSED)
def test_whatever_is_not_one_plain_change_of_one_table_is_refused(statement: str) -> None:
    with pytest.raises(InvalidInput):
        change_of(statement)


@pytest.mark.requirement("I-11")
@pytest.mark.parametrize(
    ("statement", "change"),
    [
        (
            "update prices set amount = amount * 1.05, currency = 'EUR' where currency = 'EUR' and amount is not null;",
            Change(
                "prices",
                """("currency" = 'EUR' AND NOT "amount" IS NULL)""",
                {"amount": '("amount" * 1.05)', "currency": "('EUR')"},
            ),
        ),
        ("DELETE FROM media WHERE source LIKE '%.tif'", Change("media", """("source" LIKE '%.tif')""")),
        (
            "UPDATE products SET name = '''; DROP TABLE media; --' WHERE name = 'a\\' -- comment",
            Change("products", """("name" = 'a\\')""", {"name": "('''; DROP TABLE media; --')"}),
        ),
    ],
)
def test_a_change_is_written_anew_from_what_was_parsed(statement: str, change: Change) -> None:
    assert change_of(statement) == change


@pytest.mark.requirement("A-08")
async def test_the_engine_counts_what_it_changes_and_another_count_leaves_no_dataset(tmp_path: Path) -> None:
    base = await written(tmp_path / "base", [document(number) for number in range(5)])
    change = change_of("UPDATE prices SET amount = amount * 2 WHERE amount >= 3")
    with pytest.raises(Conflict):
        edit(tmp_path / "base", change, 3, tmp_path / "other")
    assert not (tmp_path / "other" / "manifest.json").exists()
    made = edit(tmp_path / "base", change, 2, tmp_path / "made")
    assert made.table_digests["prices"] != base.table_digests["prices"]
    assert {**made.table_digests, "prices": ""} == {**base.table_digests, "prices": ""}
    async with DatasetReader(tmp_path / "made", scratch=tmp_path) as reader:
        assert (await reader.sql(change.count)).rows == ((2,),)
        assert (await reader.sql("SELECT sum(amount) AS total FROM prices")).rows == ((17.7,),)
        assert (await reader.search(article(3), limit=1))[0].path == document(3).document.path


async def test_a_value_that_the_table_cannot_hold_changes_nothing(tmp_path: Path) -> None:
    await written(tmp_path / "base", [document(0)])
    change = change_of("UPDATE products SET name = NULL WHERE TRUE")
    with pytest.raises(Exception, match="validation"):
        edit(tmp_path / "base", change, 1, tmp_path / "made")
    assert not (tmp_path / "made" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("amount = 'teuer'", "amount takes a number or NULL"),
        ("amount = currency", "amount takes a number or NULL"),
        ("amount = 1, lower_bound = 'ab 10'", "lower_bound takes a number or NULL"),
        ("currency = NULL", "currency takes a text, not NULL"),
        ("amount = '12.50'", None),
        ("amount = amount * 1.05, currency = 'EUR', lower_bound = NULL", None),
    ],
)
async def test_a_value_that_does_not_fit_its_column_is_found_before_anybody_is_asked(
    tmp_path: Path, values: str, says: str | None
) -> None:
    await written(tmp_path / "base", [document(number) for number in range(3)])
    change = change_of(f"UPDATE prices SET {values} WHERE TRUE")  # noqa: S608
    async with DatasetReader(tmp_path / "base", scratch=tmp_path) as reader:
        rows = int((await reader.sql(change.count)).rows[0][0] or 0)
        try:
            counted = (await reader.sql(change.trial)).rows[0]
        except InvalidInput:
            counted = None
        if says is None:
            assert rows
            change.require_fit(rows, counted)
        else:
            with pytest.raises(InvalidInput, match=says):
                change.require_fit(rows, counted)
