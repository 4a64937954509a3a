"""The registry of products: whatever stands here is checked in value, derivatives, dtypes, bits and non-finite input.

A family adds its entries to FAMILIES; SHAPES_AND_SYNTAX holds what every family relies on.
"""

from __future__ import annotations

from irkernels.testing.product import Product

FAMILIES: tuple[Product, ...] = (
    # matrix chains
    Product("chain_1", "ij->ij", ((3, 5),)),
    Product("chain_2", "ij,jk->ik", ((5, 4), (4, 3))),
    Product("chain_3", "ij,jk,kl->il", ((5, 7), (7, 3), (3, 6))),
    Product("chain_3_square", "ij,jk,kl->il", ((17, 17),) * 3),
    Product("chain_3_of_trials", "...ij,...jk,...kl->...il", ((3, 5, 4), (3, 4, 4), (3, 4, 6)), trials=3),
    Product("chain_6", "ab,bc,cd,de,ef,fg->ag", ((2, 3), (3, 5), (5, 2), (2, 4), (4, 3), (3, 2))),
    Product("chain_2_wide", "ij,jk->ik", ((65, 130), (130, 67))),
    Product("chain_3_of_papers", "ij,jk,kl->il", ((100, 100),) * 3),
    Product("chain_2_of_many_trials", "...ij,...jk->...ik", ((257, 9, 8), (257, 8, 7)), trials=257),
    Product("chain_3_2x2_of_trials", "...ij,...jk,...kl->...il", ((37, 2, 2),) * 3, trials=37),
    # Hadamard chains: diagonal linear networks
    Product("hadamard_2", "i,i->i", ((7,), (7,))),
    Product("hadamard_3_of_trials", "...i,...i,...i->...i", ((3, 33),) * 3, trials=3),
    Product("hadamard_6", "i,i,i,i,i,i->i", ((5,),) * 6),
    Product("hadamard_2_signed", "si,si,s->i", ((2, 6), (2, 6), (2,)), trainable=(0, 1)),
    # CP, Tucker, tensor train (Razin et al. 2021, Hariz et al. 2022)
    Product("cp_3", "ar,br,cr->abc", ((4, 3), (5, 3), (2, 3))),
    Product("cp_3_of_trials", "...ar,...br,...cr->...abc", ((3, 4, 2), (3, 3, 2), (3, 5, 2)), trials=3),
    Product("cp_4", "ar,br,cr,dr->abcd", ((2, 3), (3, 3), (2, 3), (4, 3))),
    Product("cp_3_weighted", "r,ar,br,cr->abc", ((3,), (4, 3), (2, 3), (3, 3))),
    Product("tucker_3", "pqs,ap,bq,cs->abc", ((2, 3, 2), (4, 2), (3, 3), (5, 2))),
    Product("tensor_train_3", "aib,bjc,ckd->aijkd", ((1, 4, 3), (3, 5, 2), (2, 3, 1))),
    Product("tensor_train_ring", "aib,bjc,cka->ijk", ((2, 3, 3), (3, 4, 2), (2, 2, 2))),
    # hierarchical (Razin et al. 2022): local components, a node of three children, transfer tensors
    Product("hierarchical_4", "ap,bp,px,cq,dq,qx,x->abcd", ((3, 2), (2, 2), (2, 3), (2, 2), (3, 2), (2, 3), (3,))),
    Product(
        "hierarchical_5_wide",
        "ap,bp,cp,px,dq,eq,qx,x->abcde",
        ((2, 3), (3, 3), (2, 3), (3, 2), (2, 2), (3, 2), (2, 2), (2,)),
    ),
    Product(
        "hierarchical_4_transfer_tensors",
        "ap,bq,pqx,cr,ds,rsy,xy->abcd",
        ((3, 2), (2, 2), (2, 2, 3), (2, 2), (3, 2), (2, 2, 2), (3, 2)),
    ),
    # deep forms: a chain for each column of a factor, for each factor, for each unfolded core
    Product("cp_3_deep_columns", "rae,er,rbf,fr,cr->abc", ((3, 2, 2), (2, 3), (3, 3, 3), (3, 3), (4, 3))),
    Product(
        "tucker_3_deep_columns",
        "pqs,pae,pef,fp,bq,scg,gs->abc",
        ((2, 3, 2), (2, 3, 3), (2, 3, 2), (2, 2), (2, 3), (2, 4, 3), (3, 2)),
    ),
    Product("tucker_2_deep", "pq,ae,ef,fp,bg,gq->ab", ((2, 3), (4, 3), (3, 3), (3, 2), (5, 3), (3, 3))),
    Product("tensor_train_3_deep", "ae,ei,ibf,fg,gj,jc->abc", ((4, 2), (2, 2), (2, 3, 3), (3, 2), (2, 3), (3, 4))),
    # products on data: sensing (Arora et al. 2019), regression, the tangent kernel (Baratin et al. 2021)
    Product("sensing", "ij,jk,mik->m", ((4, 3), (3, 5), (7, 4, 5)), trainable=(0, 1)),
    Product("regression", "ij,jk,kx->ix", ((3, 4), (4, 5), (5, 9)), trainable=(0, 1)),
    Product(
        "tangent_kernel",
        "mi,ki,kj,nj,pa,qa->mnpq",
        ((3, 4), (2, 4), (2, 4), (3, 4), (2, 3), (2, 3)),
        trainable=(1, 2, 4, 5),
    ),
    Product("quadratic_form", "i,ij,j->", ((4,), (4, 5), (5,))),
)

SHAPES_AND_SYNTAX: tuple[Product, ...] = (
    # diagonals, traces, letters summed out
    Product("diagonal", "ii->i", ((4, 4),)),
    Product("trace", "ii->", ((4, 4),)),
    Product("diagonal_in_a_factor", "iij,jk->ik", ((3, 3, 4), (4, 5))),
    Product("diagonal_summed", "ijj,jk->ik", ((3, 4, 4), (4, 2))),
    Product("two_diagonals", "ijij->ij", ((2, 3, 2, 3),)),
    Product("row_sum", "ij->i", ((4, 6),)),
    Product("summed_alone", "ij,k->i", ((3, 4), (5,))),
    Product("summed_everywhere", "ij,jkl->", ((3, 4), (4, 2, 3))),
    Product("sum_of_a_middle_letter", "ijk->j", ((3, 4, 2),)),
    # scalars, vectors, outer products
    Product("dot", "i,i->", ((65,), (65,))),
    Product("inner", "ij,ij->", ((5, 7), (5, 7))),
    Product("ring", "ij,jk,ki->", ((3, 4), (4, 2), (2, 3))),
    Product("scaled", ",ij->ij", ((), (3, 4))),
    Product("scalar_between", "ij,,jk->ik", ((3, 4), (), (4, 2))),
    Product("scalars", ",->", ((), ())),
    Product("matrix_vector", "ij,j->i", ((6, 5), (5,))),
    Product("outer", "i,j->ij", ((4,), (5,))),
    Product("outer_3_permuted", "i,j,k->kij", ((2,), (3,), (4,))),
    Product("kronecker", "ij,kl->ikjl", ((2, 3), (3, 2))),
    Product("transposed_output", "ij,jk->ki", ((4, 3), (3, 5))),
    Product("permutation", "ijk->kij", ((2, 3, 4),)),
    Product("letter_of_trials", "bij,bjk->bik", ((4, 3, 2), (4, 2, 5))),
    # letters in three and more operands
    Product("star", "ij,ik,il->i", ((4, 2), (4, 3), (4, 5))),
    Product("triangle", "ij,jk,ki->ijk", ((3, 2), (2, 4), (4, 3))),
    Product("hadamard_of_matrices", "ij,ij,ij->i", ((4, 3),) * 3),
    Product("shared_by_four", "ib,jb,kb,b->ij", ((2, 3), (3, 3), (4, 3), (3,))),
    # empty and single extents, broadcasting of size 1
    Product("contracts_nothing", "ij,jk->ik", ((3, 0), (0, 4))),
    Product("no_rows", "ij,jk->ik", ((0, 3), (3, 4))),
    Product("empty_dot", "i,i->", ((0,), (0,))),
    Product("cp_rank_0", "ar,br,cr->abc", ((2, 0), (3, 0), (2, 0))),
    Product("single_extents", "ij,jk,kl->il", ((1, 4), (4, 1), (1, 1))),
    Product("cp_rank_1", "ar,br,cr->abc", ((4, 1), (3, 1), (2, 1))),
    Product("broadcast_both_ways", "ij,ij->ij", ((5, 1), (1, 4))),
    Product("broadcast_contracted", "ij,jk->ik", ((3, 1), (4, 2))),
    Product("broadcast_summed", "ijk,jk->i", ((2, 3, 1), (1, 4))),
    Product("broadcast_chain", "ij,jk,kl->il", ((3, 4), (1, 5), (5, 1))),
    # `...` in every place
    Product("dots_leading", "...ij,jk->...ik", ((2, 3, 4, 5), (5, 2))),
    Product("dots_trailing", "ij...,jk->ik...", ((3, 4, 2), (4, 5))),
    Product("dots_between", "i...j,j->i...", ((3, 2, 4), (4,))),
    Product("dots_moved", "...ij,...jk->ik...", ((2, 3, 4), (2, 4, 2))),
    Product("dots_broadcast", "...,...->...", ((3, 1, 4), (5, 1))),
    Product("dots_of_one_operand", "...ij,jk,...kl->...il", ((2, 1, 3, 2), (2, 4), (5, 4, 3))),
    Product("dots_summed", "...i,...i->i", ((2, 3, 4), (3, 4))),
    Product("dots_summed_of_a_chain", "...ij,jk,...kl->il", ((3, 2, 4), (4, 2), (3, 2, 5))),
    Product("dots_of_no_extent", "...ij,...jk->...ik", ((2, 3), (3, 4))),
    # implicit output, upper case, spaces
    Product("implicit_chain", "ij,jk", ((3, 4), (4, 5))),
    Product("implicit_transpose", "ba", ((3, 4),)),
    Product("implicit_scalar", "ij,ji", ((3, 4), (4, 3))),
    Product("implicit_dots", "...ij,...jk", ((2, 3, 4), (2, 4, 5))),
    Product("upper_case", "aB,Bc->ac", ((3, 4), (4, 5))),
    Product("implicit_upper_case", "bA,Ca", ((2, 3), (4, 5))),
    Product("spaces", " i j , j k -> i k ", ((3, 4), (4, 5))),
    # operands that are views
    Product("chain_3_transposed", "ij,jk,kl->il", ((9, 8), (8, 5), (5, 11)), strides=("transposed",) * 3),
    Product("chain_3_sliced", "ij,jk,kl->il", ((9, 8), (8, 5), (5, 11)), strides=("sliced",) * 3),
    Product("chain_3_mixed", "ij,jk,kl->il", ((9, 8), (8, 5), (5, 11)), strides=("transposed", "sliced", "expanded")),
    Product("cp_3_expanded", "ar,br,cr->abc", ((4, 3), (5, 3), (2, 3)), strides=("expanded", "sliced", "transposed")),
    Product("trials_sliced", "...ij,...jk->...ik", ((5, 3, 4), (5, 4, 2)), strides=("sliced", "transposed"), trials=5),
)

PRODUCTS: tuple[Product, ...] = FAMILIES + SHAPES_AND_SYNTAX
SMALL: tuple[Product, ...] = tuple(product for product in PRODUCTS if product.elements <= 120)  # for gradcheck
